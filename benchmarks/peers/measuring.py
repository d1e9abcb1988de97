"""Running a command and what it cost; what a compiled variant answers; and everything on one target timed in turns."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handover import BATCH_SIZES, COMPILED, PROJECT, Made

from slimline.artifact.compiled import read_compiled
from slimline.artifact.signature import Arrays
from slimline.artifact.variant import load_variant
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.errors import SlimlineError
from slimline.measure.size import size_bytes, size_ratio
from slimline.params import TEACHER
from slimline.stage import Stage
from slimline.worker import Worker
from tasks.answers import answer_batches, with_judged
from tasks.evaluate import answers_of, together
from tasks.evaluate import run as evaluated
from tasks.launches import Launching, groups, timed_together
from tasks.launches_session import Session
from tasks.time import ANSWER_SAMPLES, BASELINE, answers_wanted, batches_of, launching, stored
from tasks.time import run as timed

MODELS = Path("data/models")
LAST_LINES = 3
ROOM_BYTES = 6_000_000_000
"""Models that are timed side by side may take so much memory."""


@dataclass(frozen=True)
class Cost:
    """What a tool took: wall and CPU seconds, and the peak memory of its largest process."""

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Refused:
    """A tool or a stage that ended without a result, and what it said last."""

    reason: str


def ran(command: Sequence[str | Path], log: Path, limit_s: float) -> Cost | Refused:
    """Run a command in this folder; its output goes to `log`."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_WAIT_POLICY": "passive"}
    with log.open("wb") as written:
        process = subprocess.Popen(list(map(str, command)), stdout=written, stderr=subprocess.STDOUT, env=environment)
        while (found := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() - began > limit_s:
                process.kill()
                os.wait4(process.pid, 0)
                return Refused(f"did not end within {limit_s:g} s")
            time.sleep(0.05)
    _, status, usage = found
    if status:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return Refused(" ".join(lines[-1:])[-400:] or f"ended with {os.waitstatus_to_exitcode(status)} and said nothing")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def stage_ran(name: str, log: Path, *arguments: str) -> Cost | Refused:
    """Run a stage of the line."""
    return ran([sys.executable, "-m", f"tasks.{name}", *arguments], log, limit_s=7200)


def quality_of(stage: Stage, made: Made, batch_size: int) -> dict[str, Any] | Refused:
    """Drop, flips and bytes of what a tool made, by the very functions of the stage `evaluate`."""
    objective, config = stage.workload.objective, stage.params.evaluate
    teacher = load_variant(MODELS / TEACHER, stage.workload).model
    test = load_split(stage.workload.samples, "test")
    try:
        with Worker(made.folder, threads=config.threads, workload=stage.params.workload) as worker:
            answered = together(answers_of(teacher, worker, test, objective, batch_size))
    except SlimlineError as error:
        return Refused(" ".join(str(error).split()))
    facts = evaluated(answered, objective, stage.metric, stage.params)
    bytes_now, bytes_before = size_bytes(made.folder), size_bytes(MODELS / TEACHER)
    return {
        **facts,
        "baseline": {**facts["baseline"], "size_bytes": bytes_before},
        "size_bytes": bytes_now,
        "size_ratio": size_ratio(bytes_before, bytes_now),
        "variant": made.variant,
        "target": made.target,
    }


def times_of(stage: Stage, target: str, ours: Sequence[str], peers: Sequence[Made]) -> dict[str, Any]:
    """Everything on one target beside the teacher in eager PyTorch and on the target, in turns: figures as the stage `time` has them."""
    folders = {name: dict.fromkeys(BATCH_SIZES, COMPILED / f"{name}-{target}") for name in (TEACHER, *ours)}
    folders = {BASELINE: dict.fromkeys(BATCH_SIZES, MODELS / TEACHER), **folders, **{made.variant: made.folders for made in peers}}
    teacher, test, how = (
        read_compiled(COMPILED / f"{TEACHER}-{target}"),
        load_split(stage.workload.samples, "test"),
        launching(stage.params),
    )
    if answers := answers_wanted(stage, teacher):
        how, batches = replace(how, rounds=1, samples=ANSWER_SAMPLES), answer_batches(test, answers)
        sessions = [with_judged(session, answers) for session in _sessions(folders, batches, how, dict.fromkeys(batches, 1))]
    else:
        few = as_arrays(head(test, max(BATCH_SIZES)).inputs)
        batches = batches_of(few, teacher.signature, max(BATCH_SIZES))
        sessions = _sessions(folders, batches, how, {f"batch_{size}": size for size in BATCH_SIZES})
    return timed(sessions, stage.params.gate.confidence)


def _sessions(
    folders: Mapping[str, Mapping[int, Path]], batches: Mapping[str, Arrays], how: Launching, sizes: Mapping[str, int]
) -> list[Session]:
    """A session a group of models that fit in memory together; size by size, since some tools make a package of each."""
    with stored(batches) as paths:
        found = []
        for size in dict.fromkeys(sizes.values()):
            locations = {name: places[size] for name, places in folders.items()}
            few = {batch: path for batch, path in paths.items() if sizes[batch] == size}
            found.append([timed_together(group, few, how) for group in groups(locations, how.required, ROOM_BYTES)])
    return [_joined(parts) for parts in zip(*found, strict=True)]


def _joined(parts: Sequence[Session]) -> Session:
    """The sessions of the same models on several batches as one."""
    failures: Mapping[str, str] = {name: why for part in parts for name, why in part.failures.items()}
    turns = {batch: found for part in parts for batch, found in part.turns.items()}
    return Session(turns, dict(parts[0].looks), dict(parts[0].states), dict(failures))
