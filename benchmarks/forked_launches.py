"""Do forked launches cost what whole new processes cost? Two of each of one model, in turns, launch by launch.

    python benchmarks/forked_launches.py data/models/teacher data/compiled/int8-onnxruntime --launches 8

Run in a project whose line has run. Of each model, and of a language model's prefill and decode, a line: the CPU time of the forked
processes over that of the new ones (the median of the launches, and their range), and the same of one forked over the other forked one
and of one new over the other new one, which is the noise that the first is to be seen against.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from slimline.artifact.compiled import is_compiled, read_compiled
from slimline.artifact.manifest import read_manifest
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.data.windows import Windows
from slimline.params import Params
from slimline.worker import Worker
from slimline.workloads import get_workload
from tasks.answers import answer_batches, parts_of
from tasks.time import batches_of, stored

ORDERS = ("FNMG", "NGFM", "GMNF", "MFGN")
"""Of two forked processes (F, G) and two new ones (N, M): each is first, last and after each other one as often (Williams 1949)."""
PROMPT_TOKENS = 16
Launch = dict[str, list[float]]
"""Process -> CPU time in ms of each part of a call."""


def batch_of(params: Params, location: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """The one batch that is timed: a sample of the test split, or a prompt."""
    workload = get_workload(params.workload)
    test = load_split(workload.samples, "test")
    if isinstance(workload.preprocessing, Windows):
        return answer_batches(test, [(PROMPT_TOKENS, 1)])
    signature = (read_compiled(location) if is_compiled(location) else read_manifest(location)).signature
    assert signature is not None
    return batches_of(as_arrays(head(test, 1).inputs), signature, 1)


def started(location: Path, params: Params, *, relaunches: bool = False) -> Worker:
    """A process with the settings that the stage `time` has."""
    return Worker(location, threads=params.evaluate.threads, workload=params.workload, relaunches=relaunches)


def launch(location: Path, params: Params, batch: Path, forked: dict[str, Worker], rounds: int) -> Launch:
    """One launch: the forked processes anew, two new ones beside them, and their turns."""
    with ExitStack() as stack:
        new = {name: stack.enter_context(started(location, params)) for name in "NM"}
        for worker in forked.values():
            worker.relaunch()
        workers = forked | new
        for worker in workers.values():
            assert worker.state
        turns: dict[str, list[list[float]]] = {name: [] for name in workers}
        for number in range(rounds):
            for name in ORDERS[number % len(ORDERS)]:
                turns[name].append([turn.cpu_ms for turn in workers[name].turns(batch, 2)])
    return {name: [median(part) for part in zip(*taken, strict=True)] for name, taken in turns.items()}


def compared(launches: list[Launch], part: int) -> list[list[float]]:
    """Forked over new, forked over forked and new over new, a value a launch."""
    found = [{name: parts[part] for name, parts in one.items()} for one in launches]
    forked = [(one["F"] * one["G"] / one["N"] / one["M"]) ** 0.5 for one in found]
    return [forked, [one["F"] / one["G"] for one in found], [one["N"] / one["M"] for one in found]]


def main() -> None:
    """Measure each model, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locations", type=Path, nargs="+")
    parser.add_argument("--launches", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    params, console = Params.load(), Console()
    table = Table("model", "part", "forked over new", "forked over forked", "new over new")
    for location in arguments.locations:
        with stored(batch_of(params, location)) as stored_batches, ExitStack() as stack:
            ((name, batch),) = stored_batches.items()
            forked = {one: stack.enter_context(started(location, params, relaunches=True)) for one in "FG"}
            numbers = track(range(arguments.launches), location.name, console=Console(stderr=True))
            launches = [launch(location, params, batch, forked, arguments.rounds) for _ in numbers]
        for place, part in enumerate(parts_of(name)):
            cells = [f"{median(found):.3f} [{min(found):.3f}, {max(found):.3f}]" for found in compared(launches, place)]
            table.add_row(location.name, part, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
