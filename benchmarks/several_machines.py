"""Several workers on one machine, each with a clone and a cache of its own, on one store: runs an hour, executions, hand-over.

    python benchmarks/several_machines.py --workers 1,2            # minutes; what is measured is kept, --force measures anew

The workers take the runs of one list: `slimline run --share` in each. They are of three workloads (a table, digits, a series with a GRU),
and those of one workload overlap in all but a variant. A stage that two runs need is to be computed once, so executions are to equal the
distinct stages that DVC's run caches know. Hand-over: from the end of a stage on one worker to
its restored end on another one that waited for it. Writes several-machines-DATE.{json,md} into benchmarks/results.
"""

import argparse
import datetime
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil
import yaml

from slimline.params import PublishParams
from slimline.storage.server import store_environment

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks/results"
SMALL, SERIES = PROJECT / "tests/pipeline/params.yaml", PROJECT / "benchmarks/workloads/carbon_dioxide.py"
SERIES_PARAMS = {
    "workload": "workloads/carbon_dioxide.py:Series",
    "seed": 0,
    "data": {"path": "workloads", "test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128},
    "model": {"path": "workloads"},
    "teacher": {"source": "train", "epochs": 20, "batch_size": 64, "learning_rate": 0.003},
    "calibrate": {"samples": 128, "batch_size": 32},
    **{section: {} for section in ("prune", "factorize", "distill")},
    "quantize": {
        "int8": {"source": "teacher", "method": "static", "observer": "minmax"},
        "int8-dynamic": {"source": "teacher", "method": "dynamic"},
    },
    "deploy": {"variants": ["teacher", "int8", "int8-dynamic"], "targets": ["onnxruntime"]},
    "evaluate": {"batch_size": 32, "pairs": 20, "launches": 2, "threads": 1, "resamples": 2000},
    "gate": {"metric": "mean_absolute_error", "max_relative_drop": 0.05, "min_size_ratio": 1.5, "min_speed_ratio": 1.0, "confidence": 0.95},
    "publish": {"bucket": "slimline", "alias": "latest"},
}
CHANGES = {
    "params.yaml": ("prune.channels50.ratio=0.4", "factorize.svd.rank=8", "prune.channels50.ratio=0.6", "factorize.svd.rank=24"),
    "params/digits-small.yaml": (
        "quantize.int8.observer=mse",
        "quantize.small-int8.observer=mse",
        "quantize.int8.observer=percentile",
        "quantize.small-int8.observer=percentile",
    ),
    "params/series.yaml": (
        "quantize.int8.observer=mse",
        "quantize.int8.observer=percentile",
        "quantize.int8.weight_observer=mse",
        "quantize.int8.activations=symmetric",
    ),
}
"""Of each params file, the runs: one value another in each. All of one file share data and teacher."""
RUNS = [(name, change) for changes in zip(*CHANGES.values(), strict=True) for name, change in zip(CHANGES, changes, strict=True)]
Run = tuple[str, str]
LINE = re.compile(r"^(?P<mark>\S) (?P<stage>\S+)\s+(?P<seconds>[\d.]+) s\s+(?P<state>\w+)")
NOT_INHERITED = ("AWS_", "PREFECT_", "DVC_", "SLIMLINE_")
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost")
EVERYWHERE = "machine"
"""What it reads is the machine itself: it runs on each, and is not counted."""


@dataclass(frozen=True)
class Ended:
    """A stage that ended on a worker: when (seconds since the list began), how, and how long it took there, waiting included."""

    worker: int
    run: str
    stage: str
    state: str
    at_s: float
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What a number of workers came to on the list."""

    workers: int
    runs: int
    failed: int
    elapsed_s: float
    executions: int
    distinct: int
    restored: int
    hand_over_s: tuple[float, ...]
    cpu_share: float

    @property
    def runs_an_hour(self) -> float:
        """Runs that ended well."""
        return 3600 * (self.runs - self.failed) / self.elapsed_s


def snapshot(into: Path) -> Path:
    """The last commit with the small line's params and those of the series, as a repository."""
    _git(PROJECT, "clone", "-q", "--shared", str(PROJECT), str(into))
    shutil.copyfile(SMALL, into / "params.yaml")
    shutil.copy(SERIES, into / "workloads")
    (into / "params/series.yaml").write_text(yaml.safe_dump(SERIES_PARAMS, sort_keys=False), encoding="utf-8")
    (into / "dvc.lock").unlink(missing_ok=True)
    _git(into, "add", "-A")
    _git(into, *IDENTITY, "commit", "-qm", "small lines")
    return into


def measured(workers: int, runs: Sequence[Run], folder: Path) -> Measured:
    """Run the list with so many workers, from empty caches and an empty store."""
    source, todo = snapshot(folder / "source"), queue.SimpleQueue[Run]()
    clones = [_clone(source, folder / f"worker{number}") for number in range(workers)]
    ended: list[Ended] = []
    codes: list[int] = []
    for run in runs:
        todo.put(run)
    with store_environment(folder / "store", PublishParams()) as store:
        began, busy = time.monotonic(), psutil.cpu_times()
        threads = [
            threading.Thread(target=_work, args=(number, clone, store, todo, began, ended, codes)) for number, clone in enumerate(clones)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - began
        spent = sum(getattr(psutil.cpu_times(), name) - getattr(busy, name) for name in ("user", "system"))
    keyed = [one for one in ended if one.stage != EVERYWHERE]
    return Measured(
        workers=workers,
        runs=len(runs),
        failed=sum(code != 0 for code in codes),
        elapsed_s=elapsed,
        executions=sum(one.state == "completed" for one in keyed),
        distinct=len({path.name for clone in clones for path in (clone / ".dvc/cache/runs").glob("*/*") if not _is_everywhere(path)}),
        restored=sum(one.state == "restored" for one in keyed),
        hand_over_s=tuple(hand_overs(keyed)),
        cpu_share=spent / elapsed / (os.cpu_count() or 1),
    )


def hand_overs(ended: Sequence[Ended]) -> Iterator[float]:
    """Seconds from the end of a stage on one worker to that on another one that had begun to wait before it."""
    for one in ended:
        if one.state != "restored":
            continue
        made = [
            other.at_s
            for other in ended
            if other.stage == one.stage
            and other.worker != one.worker
            and other.state == "completed"
            and one.at_s - one.seconds < other.at_s <= one.at_s
        ]
        if made:
            yield one.at_s - max(made)


def _is_everywhere(key: Path) -> bool:
    return any(yaml.safe_load(entry.read_text(encoding="utf-8"))["cmd"].endswith(f"tasks.{EVERYWHERE}") for entry in key.iterdir())


def table(found: Sequence[Measured]) -> str:
    """Markdown: a row a number of workers."""
    columns = ("workers", "runs", "failed", "minutes", "runs an hour", "of N times one", "executions", "distinct stages", "restored")
    columns += ("hand-over s, median", "most", "CPU")
    lines = [f"| {' | '.join(columns)} |", "|" + "--:|" * len(columns)]
    single = next((one.runs_an_hour for one in found if one.workers == 1), None)
    for one in found:
        share = "" if not single else f"{one.runs_an_hour / single / one.workers:.2f}"
        waits = (f"{median(one.hand_over_s):.1f}", f"{max(one.hand_over_s):.1f}") if one.hand_over_s else ("", "")
        cells = (one.workers, one.runs, one.failed, f"{one.elapsed_s / 60:.1f}", f"{one.runs_an_hour:.1f}", share)
        lines.append(f"| {' | '.join(map(str, (*cells, one.executions, one.distinct, one.restored, *waits, f'{one.cpu_share:.0%}')))} |")
    return "\n".join(lines)


def _work(
    number: int,
    clone: Path,
    store: Mapping[str, str],
    todo: "queue.SimpleQueue[Run]",
    began: float,
    ended: list[Ended],
    codes: list[int],
) -> None:
    """One worker: run after run, until the list is empty."""
    environment = _environment(clone.parent / f"{clone.name}-home") | dict(store)
    while True:
        try:
            run = todo.get_nowait()
        except queue.Empty:
            return
        command = [sys.executable, "-m", "flows.compress", "--share", "--no-publish", "--jobs", "1", "--params", run[0], "--set", run[1]]
        with (
            subprocess.Popen(command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
            (clone.parent / f"{clone.name}.log").open("a", encoding="utf-8") as log,
        ):
            for line in process.stdout or ():
                log.write(line)
                if told := LINE.match(line):
                    ended.append(
                        Ended(number, " ".join(run), told["stage"], told["state"], time.monotonic() - began, float(told["seconds"]))
                    )
        codes.append(process.returncode)


def _clone(source: Path, into: Path) -> Path:
    _git(source, "clone", "-q", str(source), str(into))
    (into.parent / f"{into.name}-home").mkdir()
    return into


def _environment(home: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    folders = {f"DVC_{kind}": str(home / kind.lower()) for kind in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", "t"), ("EMAIL", "t@localhost"))}
    return own | folders | who | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"}


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def main() -> int:
    """Measure what is missing, write the table; 0 if every run ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=lambda given: [int(one) for one in given.split(",")], default=[1, 2])
    parser.add_argument("--runs", type=int, default=len(RUNS), help="the first so many of the list")
    parser.add_argument("--force", action="store_true", help="measure also what is there")
    chosen = parser.parse_args()
    path = RESULTS / f"several-machines-{datetime.datetime.now(tz=datetime.UTC).date().isoformat()}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not chosen.force else []
    found = {one["workers"]: Measured(**{**one, "hand_over_s": tuple(one["hand_over_s"])}) for one in known}
    for workers in chosen.workers:
        if workers not in found:
            with tempfile.TemporaryDirectory(prefix="several-machines-") as folder:
                found[workers] = measured(workers, RUNS[: chosen.runs], Path(folder))
            ordered = [found[key] for key in sorted(found)]
            path.write_text(json.dumps([asdict(one) for one in ordered], indent=1) + "\n", encoding="utf-8")
            text = f"# Several workers, {os.cpu_count()} cores\n\n{table(ordered)}\n"
            path.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(table([found[key] for key in sorted(found)]) + "\n")
    return int(any(one.failed for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
