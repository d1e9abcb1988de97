"""Do the 95 % intervals of speed ratios hold the truth? The stage `time`, again and again, on a quiet or a loaded machine.

    python benchmarks/speed_coverage.py --target onnxruntime --variants channels50,int8 --repeats 20 --out /tmp/quiet.json
    python benchmarks/speed_coverage.py --target onnxruntime --variants channels50,int8 --repeats 20 --load 2 --out /tmp/loaded.json

Run in a project whose line has run. The truth of a ratio is taken to be the median of all repeats (the grand median); of each ratio the
table shows it, the spread of the repeats, the median width of their intervals, and how many of these hold the grand median. `--load N`
keeps N processes busy meanwhile. Finished repeats stand in --out: a second call goes on from there.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from slimline.data.prepared import load_table
from slimline.params import TEACHER, Params
from slimline.workloads import get_workload
from tasks.launches import timed_together
from tasks.time import BASELINE, launching, locations, run, stored

RATIOS = ("speed_ratio", "speed_ratio_same_runtime")
BURN = "import numpy as np\na = np.random.rand(700, 700)\nwhile True: a @ a"
Repeat = dict[str, dict[str, Any]]
"""Variant -> what the stage `time` says of it."""


@contextlib.contextmanager
def loaded(processes: int) -> Iterator[None]:
    """So many processes that multiply matrices, one thread each; they end with the block."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    burning = [subprocess.Popen([sys.executable, "-c", BURN], env=one_thread) for _ in range(processes)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def repeat(params: Params, target: str, variants: list[str]) -> Repeat:
    """One session as the stage has it, of these variants."""
    where = locations(params, target)
    chosen = {name: where[name] for name in (BASELINE, TEACHER, *variants)}
    inputs = get_workload(params.workload).inputs(load_table("test").head(params.evaluate.batch_size)).numpy()
    with stored(inputs, params.evaluate.batch_size) as batches:
        found: Repeat = run([timed_together(chosen, batches, launching(params))], params.gate.confidence)["variants"]
    return found


def rows(repeats: list[Repeat]) -> Iterator[tuple[str, str, str, float, float, float, int]]:
    """Variant, batch, ratio, grand median, relative spread of the repeats, median relative width of an interval, intervals that hold it."""
    for variant in repeats[0]:
        for ratio in RATIOS[: 1 if variant == TEACHER else None]:
            for batch in repeats[0][variant][ratio]:
                found = [one[variant][ratio][batch] for one in repeats]
                values = np.array([one["value"] for one in found])
                grand, (low, high) = float(np.median(values)), np.array([one["ci"] for one in found]).T
                held = int(((low <= grand) & (grand <= high)).sum())
                yield variant, batch, ratio, grand, float(values.std(ddof=1) / grand), float(np.median((high - low) / values)), held


def show(repeats: list[Repeat]) -> None:
    """The table, and over all ratios the share of intervals that hold their grand median."""
    table = Table("variant", "batch", "ratio", "grand median", "sd of repeats", "width of interval", "hold it")
    held = total = 0
    for variant, batch, ratio, grand, spread, width, holding in rows(repeats):
        table.add_row(variant, batch, ratio, f"{grand:.2f}", f"{spread:.1%}", f"{width:.1%}", f"{holding} of {len(repeats)}")
        held, total = held + holding, total + len(repeats)
    Console(width=140).print(table)
    Console().print(f"{held} of {total} intervals ({held / total:.1%}) hold the grand median")


def main() -> None:
    """Measure what is missing, keep every repeat, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--variants", type=lambda names: names.split(","), default=["channels50", "int8"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    params = Params.load()
    repeats: list[Repeat] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    with loaded(arguments.load):
        for _ in track(range(len(repeats), arguments.repeats), "repeats", console=Console(stderr=True)):
            repeats.append(repeat(params, arguments.target, arguments.variants))
            arguments.out.write_text(json.dumps(repeats), encoding="utf-8")
    show(repeats)


if __name__ == "__main__":
    main()
