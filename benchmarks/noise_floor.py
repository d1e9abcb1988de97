"""How noisy speed ratios are here: the same model against itself (A/A), and how far estimators of one ratio spread.

    python benchmarks/noise_floor.py data/compiled/int8-onnxruntime data/compiled/teacher-onnxruntime --repeats 10

A is the first location, B the second (without any: these two); every repeat starts fresh processes. Prints one line an
estimator: the median of the estimates, their relative standard deviation and their range, for A/A and for B/A. Redoes the
table of facts-cpu.md, §1.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from slimline.artifact.arrays import write_arrays
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.measure.timing import Turn
from slimline.params import Params
from slimline.worker import Worker
from slimline.workloads import get_workload

COMPILED = Path("data/compiled")
Timings = dict[str, list[Turn]]
Estimator = Callable[[Sequence[Turn], Sequence[Turn]], float]


def cpu(turns: Sequence[Turn]) -> np.ndarray:
    """Process CPU time of each turn, ms a call."""
    return np.array([turn.cpu_ms for turn in turns])


def wall(turns: Sequence[Turn]) -> np.ndarray:
    """Wall time of each turn, ms a call."""
    return np.array([turn.wall_ms for turn in turns])


ESTIMATORS: dict[str, Estimator] = {
    "mean, wall": lambda b, a: wall(b).mean() / wall(a).mean(),
    "median, wall": lambda b, a: np.median(wall(b)) / np.median(wall(a)),
    "minimum, wall": lambda b, a: wall(b).min() / wall(a).min(),
    "median of pair ratios, wall": lambda b, a: float(np.median(wall(b) / wall(a))),
    "minimum, CPU": lambda b, a: cpu(b).min() / cpu(a).min(),
    "20th percentile, CPU": lambda b, a: np.percentile(cpu(b), 20) / np.percentile(cpu(a), 20),
    "median of pair ratios, CPU": lambda b, a: float(np.median(cpu(b) / cpu(a))),
}


def in_blocks(workers: dict[str, Worker], batch: Path, pairs: int) -> Timings:
    """One model after the other: the naive way."""
    return {name: [worker.turns(batch, 1)[0] for _ in range(pairs)] for name, worker in workers.items()}


def interleaved(workers: dict[str, Worker], batch: Path, pairs: int) -> Timings:
    """In turns, A B | B A."""
    turns: Timings = {name: [] for name in workers}
    for number in range(pairs):
        for name in list(workers)[:: -1 if number % 2 else 1]:
            turns[name].append(workers[name].turns(batch, 1)[0])
    return turns


@contextlib.contextmanager
def started(locations: dict[str, Path], threads: int) -> Iterator[dict[str, Worker]]:
    """Fresh processes, loaded."""
    workload = Params.load().workload
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(location, threads=threads, workload=workload)) for name, location in locations.items()}
        for worker in workers.values():
            assert worker.state
        yield workers


def estimates(timings: Timings, rows: dict[tuple[str, str, str], list[float]], order: str) -> None:
    """Add every estimator's A/A and B/A figure of one repeat."""
    for name, estimator in ESTIMATORS.items():
        rows.setdefault((order, name, "A/A"), []).append(float(estimator(timings["twin"], timings["a"])))
        rows.setdefault((order, name, "B/A"), []).append(float(estimator(timings["b"], timings["a"])))


def show(rows: dict[tuple[str, str, str], list[float]]) -> None:
    """Print the table."""
    table = Table("order", "estimator", "ratio", "median", "relative sd", "range")
    for (order, name, ratio), values in rows.items():
        found = np.array(values)
        spread = f"{100 * found.std(ddof=1) / found.mean():.1f} %"
        table.add_row(order, name, ratio, f"{np.median(found):.3f}", spread, f"{found.min():.3f} .. {found.max():.3f}")
    Console().print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, nargs="?", default=COMPILED / "int8-onnxruntime")
    parser.add_argument("b", type=Path, nargs="?", default=COMPILED / "teacher-onnxruntime")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    test = load_split(get_workload(Params.load().workload).samples, "test")
    rows: dict[tuple[str, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "batch.npz"
        write_arrays(batch, as_arrays(head(test, arguments.batch_size).inputs))
        for _ in track(range(arguments.repeats), "repeats"):
            with started({"a": arguments.a, "twin": arguments.a, "b": arguments.b}, arguments.threads) as workers:
                estimates(interleaved(workers, batch, arguments.pairs), rows, "interleaved")
                estimates(in_blocks(workers, batch, arguments.pairs), rows, "in blocks")
    show(rows)


if __name__ == "__main__":
    main()
