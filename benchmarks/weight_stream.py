"""How long one thread takes to read a model's weights once: no runtime answers a single sample sooner, whatever its kernels.

    python benchmarks/weight_stream.py data/compiled/teacher-onnxruntime data/compiled/int8-onnxruntime

At batch 1 a Linear layer uses each weight once, so its time is that of bringing the weights to the core. Reads as many bytes as the
folder holds, by a sum over float32 (one pass, vectorised), and prints the median of the passes. The folder is read from the caches
that it fits into, as in a benchmark that calls a model again and again.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from slimline.measure.machine import fingerprint
from slimline.measure.size import size_bytes

PASSES = 101


def read_ms(count_bytes: int, passes: int = PASSES) -> float:
    """The median time of one pass over so many bytes, in milliseconds, in one thread."""
    values = torch.ones(max(1, count_bytes // 4))
    times = []
    for _ in range(passes):
        start = time.perf_counter_ns()
        values.sum()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e6


def main() -> None:
    """Print a line a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="compiled variants")
    folders = parser.parse_args().folders
    torch.set_num_threads(1)
    print(fingerprint()["cpu"])
    for folder in folders:
        found = size_bytes(folder)
        took_ms = read_ms(found)
        print(f"{folder}: {found:,} bytes in {took_ms:.3f} ms, {found / took_ms / 1e6:.1f} GB/s")


if __name__ == "__main__":
    main()
