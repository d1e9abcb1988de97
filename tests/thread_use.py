"""Which share of a model's CPU time the calling thread takes, and whether torch was imported: `python thread_use.py FOLDER`."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def thread_use(folder: Path) -> tuple[float, bool]:
    """In a process of its own: 1.0 where a model loaded with threads=1 computes on the calling thread alone; whether torch is there."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=True)
    share, with_torch = json.loads(done.stdout.splitlines()[-1])
    return share, with_torch


def _measured(folder: str) -> float:
    from slimline.runtime import load

    model = load(folder, threads=1)
    batch = {one.name: np.zeros((32, *one.shape), one.dtype) for one in model.signature.inputs}
    model.predict(batch)
    process, own = time.process_time(), time.thread_time()
    while time.process_time() - process < 0.3:
        model.predict(batch)
    return (time.thread_time() - own) / (time.process_time() - process)


if __name__ == "__main__":
    sys.stdout.write(json.dumps([_measured(sys.argv[1]), "torch" in sys.modules]) + "\n")
