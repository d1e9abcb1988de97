"""Do the 95 % intervals of speed ratios hold the truth? The stage `time`, again and again, on a quiet or a loaded machine.

    python benchmarks/speed_coverage.py --target onnxruntime --variants channels50,int8 --repeats 20 --out /tmp/quiet.json
    python benchmarks/speed_coverage.py --target onnxruntime --variants channels50,int8 --repeats 20 --load 2 --out /tmp/loaded.json

Run in a project whose line has run. The truth of a ratio is taken to be the median of all repeats (the grand median); of each ratio the
table, beside --out, shows it, the spread of the repeats, the median width of their intervals, and how many hold it. `--load N`
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

from slimline.artifact.compiled import read_compiled
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.measure.machine import fingerprint
from slimline.params import TEACHER, Params
from slimline.workloads import get_workload
from tasks.launches import timed_together
from tasks.time import BASELINE, batches_of, launching, locations, run, stored

COLUMNS = ("variant", "batch", "ratio", "grand median", "sd of repeats", "width of interval", "hold it")
RATIOS = ("speed_ratio", "speed_ratio_same_runtime")
BURN = "import os, numpy as np\na, parent = np.random.rand(700, 700), os.getppid()\nwhile os.getppid() == parent: a @ a"
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
    few = head(load_split(get_workload(params.workload).samples, "test"), params.evaluate.batch_size).inputs
    with stored(batches_of(as_arrays(few), read_compiled(where[TEACHER]).signature, params.evaluate.batch_size)) as batches:
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


def page(repeats: list[Repeat], about: str) -> str:
    """Markdown: over all ratios the share of intervals that hold their grand median, and a row a ratio."""
    found = list(rows(repeats))
    held, total = sum(row[-1] for row in found), len(found) * len(repeats)
    lines = [f"{held} of {total} intervals ({held / total:.1%}) hold the grand median. {about}", "", f"| {' | '.join(COLUMNS)} |"]
    lines.append("|:--|:--|:--|--:|--:|--:|--:|")
    for variant, batch, ratio, grand, spread, width, holding in found:
        cells = (variant, batch, ratio, f"{grand:.2f}", f"{spread:.1%}", f"{width:.1%}", f"{holding} of {len(repeats)}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure what is missing, keep every repeat, write the table beside them."""
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
    found = fingerprint()
    about = (
        f"{len(repeats)} repeats on {arguments.target}, {arguments.load} busy processes beside; {found['cores']} cores of {found['cpu']}."
    )
    text = page(repeats, about)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
