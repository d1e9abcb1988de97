"""Which share of a model's CPU time its own thread takes, in a process of its own: `python thread_use.py FOLDER` prints it."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def main_thread_share(folder: Path) -> float:
    """1.0 where a model loaded with threads=1 computes on the calling thread alone."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _measured(folder: str) -> float:
    from slimline.runtime import load

    model = load(folder, threads=1)
    batch = np.zeros((32, *model.input_shape), np.float32)
    model.predict(batch)
    process, own = time.process_time(), time.thread_time()
    while time.process_time() - process < 0.3:
        model.predict(batch)
    return (time.thread_time() - own) / (time.process_time() - process)


if __name__ == "__main__":
    sys.stdout.write(f"{_measured(sys.argv[1])}\n")
