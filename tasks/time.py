"""Stage `time`: every deployed variant of one target beside the teacher, on the clock of this machine.

in      data/compiled/*-<target>, data/models/teacher, data/prepared/test.arrow, data/machine.json
out     reports/metrics/time/<target>.json
params  workload, deploy, evaluate, gate.confidence

The teacher in eager PyTorch and on the target are timed once, in turns with all that are compared with them.
"""

import dataclasses
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from numpy.typing import NDArray

from slimline.artifact.arrays import write_arrays
from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import sha256_of
from slimline.artifact.json_file import read_json
from slimline.artifact.missed import read_missed
from slimline.artifact.signature import Arrays, Signature
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.data.windows import Windows
from slimline.errors import ArtifactError, MachineError
from slimline.measure.latency import Launches, cold_percentiles, cold_speed_ratio, launches_needed, noise_floor, percentiles, speed_ratio
from slimline.measure.machine import MACHINE, fingerprint
from slimline.methods import GENERATING
from slimline.params import TEACHER, Params
from slimline.report.page import write_page
from slimline.report.timing import timing_page
from slimline.stage import Stage, stage_main, write_metrics
from tasks.answers import answer_batches, asked_for, told_apart, with_judged
from tasks.launches import Launching, groups, timed_together
from tasks.launches_session import Session
from tasks.lengths import apart, at_lengths, filled, timed_lengths

log = logging.getLogger(__name__)

MODELS, COMPILED = Path("data/models"), Path("data/compiled")
BASELINE = "baseline"
SCHEMA = 1
SHARE_OF_MEMORY = 0.5

ROUNDS = 2
"""Rounds of turns in a launch, one in each direction."""

ANSWER_SAMPLES = 2
"""Samples of a turn of a language model, in one round a launch; of answers that take long there is one."""

Turns = Mapping[str, Launches]
"""Batch name -> a model's turns."""


def run(sessions: Sequence[Session], confidence: float) -> dict[str, Any]:
    """The baselines' figures and every variant's beside them, from models that were timed together."""
    baselines = {
        name: _figures([turns_of(session, name) for session in sessions]) | _look(sessions[0], name) for name in (BASELINE, TEACHER)
    }
    variants, failures = {}, {}
    for session in sessions:
        for name in session.states:
            if name in session.failures:
                failures[name] = session.failures[name]
            elif name != BASELINE and name not in variants:
                variants[name] = compared(session, name, confidence)
    return {"baseline": baselines[BASELINE], "same_runtime_baseline": baselines[TEACHER], "variants": variants, "failures": failures}


def turns_of(session: Session, model: str) -> dict[str, Launches]:
    """A model's turns on each batch."""
    return {batch: found[model] for batch, found in session.turns.items()}


def compared(session: Session, variant: str, confidence: float) -> dict[str, Any]:
    """One variant's figures, its ratios against both baselines, and how far two of its launches differ."""
    eager, same, own = (turns_of(session, name) for name in (BASELINE, TEACHER, variant))
    ratios = {batch: speed_ratio(eager[batch], own[batch], confidence) for batch in own}
    return {
        **_figures([own]),
        **_look(session, variant),
        "speed_ratio": ratios,
        "speed_ratio_same_runtime": {batch: speed_ratio(same[batch], own[batch], confidence) for batch in own},
        "cold_speed_ratio": {batch: cold_speed_ratio(eager[batch], own[batch], confidence) for batch in own},
        "noise_floor": {batch: noise_floor(ratio["launches"], confidence) for batch, ratio in ratios.items()},
        "unsteady": {batch: sum(not turn.steady for turns in launches for turn in turns) for batch, launches in own.items()},
    }


def _figures(found: Sequence[Turns]) -> dict[str, Any]:
    """Latencies of single calls, warm and cold, over the turns of one or several groups."""
    launches = {batch: [launch for turns in found for launch in turns[batch]] for batch in found[0]}
    return {
        "latency_ms": {batch: percentiles(of_batch) for batch, of_batch in launches.items()},
        "cold_latency_ms": {batch: cold_percentiles(of_batch) for batch, of_batch in launches.items()},
        "calls": {batch: _calls(of_batch) for batch, of_batch in launches.items()},
    }


def _calls(launches: Launches) -> int:
    return sum(len(sample.wall_ms) for turns in launches for turn in turns for sample in turn.samples)


def _look(session: Session, model: str) -> dict[str, Any]:
    memory, energy = session.looks[model]
    return {
        "peak_memory_bytes": memory,
        "energy_mj": energy.millijoules,
        "energy_reason": energy.reason,
        "runtime": session.states[model],
    }


def batches_of(inputs: Arrays, signature: Signature, batch_size: int) -> dict[str, dict[str, NDArray[Any]]]:
    """The two batches to time: batch name -> input -> values. What is shorter than the signature's own shape, or holds too few samples,
    is repeated from its beginning."""
    shapes = {one.name: one.shape for one in signature.inputs}
    return {f"batch_{size}": {name: filled(inputs[name], (size, *shape)) for name, shape in shapes.items()} for size in (1, batch_size)}


@contextmanager
def stored(batches: Mapping[str, Arrays]) -> Iterator[dict[str, Path]]:
    """The batches as files that the workers read."""
    with tempfile.TemporaryDirectory(prefix="slimline-time-") as folder:
        paths = {name: Path(folder) / f"{name}.npz" for name in batches}
        for name, path in paths.items():
            write_arrays(path, batches[name])
        yield paths


def locations(params: Params, target: str) -> dict[str, Path]:
    """Who is timed: the teacher in eager PyTorch, and what stands compiled of the deployed variants, the teacher first.

    Raises:
        ArtifactError: the teacher itself is not compiled for the target.
    """
    teacher = COMPILED / f"{TEACHER}-{target}"
    if not teacher.is_dir():
        raise ArtifactError(f"{teacher}: missing; the speed on the same runtime needs it: list 'teacher' in params.yaml: deploy.variants")
    compiled = {variant: COMPILED / f"{variant}-{target}" for variant in params.deploy.variants}
    return {BASELINE: MODELS / TEACHER, TEACHER: teacher, **{variant: folder for variant, folder in compiled.items() if _is_made(folder)}}


def _is_made(folder: Path) -> bool:
    return folder.is_dir() and read_missed(folder) is None


def launching(params: Params) -> Launching:
    """How often models are launched, and how many samples a turn takes, so that all launches give `evaluate.pairs` pairs."""
    config = params.evaluate
    launches = max(config.launches, launches_needed(params.gate.confidence))
    return Launching(launches, ROUNDS, math.ceil(config.pairs / launches / ROUNDS), config.threads, params.workload, (BASELINE, TEACHER))


def this_machine() -> dict[str, Any]:
    """The fingerprint of this machine.

    Raises:
        MachineError: data/machine.json, by which DVC keys the timings, is another's.
    """
    found = fingerprint()
    if read_json(MACHINE) != found:
        raise MachineError(f"{MACHINE}: is of another machine than this one; write it anew: dvc repro --force --single-item machine")
    return found


def answers_wanted(stage: Stage, teacher: CompiledManifest) -> list[tuple[int, int]]:
    """(length, rows) of the prompts that a language model is timed at; none of any other, or where the target does not generate."""
    windows = stage.workload.preprocessing
    if not isinstance(windows, Windows) or teacher.target not in (*GENERATING, "eager"):
        return []
    config = stage.params.evaluate
    return asked_for(config.lengths, windows.longest, config.batch_size)


def main(stage: Stage) -> None:
    """Time all that stands of this target in worker processes; write the metrics and the page."""
    started, machine, how = time.monotonic(), this_machine(), launching(stage.params)
    where = locations(stage.params, str(stage.target))
    test = load_split(stage.workload.samples, "test")
    few = head(test, stage.params.evaluate.batch_size).inputs
    arrays, signature = {name: values.numpy() for name, values in few.items()}, read_compiled(where[TEACHER]).signature
    answers = answers_wanted(stage, read_compiled(where[TEACHER]))
    lengths = () if answers else timed_lengths(signature, stage.params.evaluate.lengths, test)
    if answers:
        batches, how = answer_batches(test, answers), dataclasses.replace(how, rounds=1, samples=ANSWER_SAMPLES)
    else:
        batches = batches_of(arrays, signature, stage.params.evaluate.batch_size) | at_lengths(arrays, signature, lengths)
    room = round(SHARE_OF_MEMORY * psutil.virtual_memory().available)
    with stored(batches) as paths:
        sessions = [timed_together(group, paths, how) for group in groups(where, how.required, room)]
    facts = run([with_judged(session, answers) for session in sessions] if answers else sessions, stage.params.gate.confidence)
    if answers:
        told_apart(facts, answers)
    by_length = apart(facts, lengths)
    facts["same_runtime_baseline"]["precision"] = read_compiled(where[TEACHER]).computes
    for name, found in facts["variants"].items():
        found["artifact_sha256"] = sha256_of(where[name] / "manifest.json")
    seconds = time.monotonic() - started
    timing = {
        "schema": SCHEMA,
        "target": stage.target,
        "machine": machine,
        "threads": how.threads,
        "launches": how.launches,
        "pairs": how.launches * how.rounds * how.samples,
        "confidence": stage.params.gate.confidence,
        "shapes": {batch: {name: list(values.shape) for name, values in found.items()} for batch, found in batches.items()},
        "seconds": seconds,
        "lengths": by_length,
        **facts,
    }
    write_metrics(stage, timing)
    write_page(timing_page(timing), stage.page_path)
    log.info("time: %d variants on %s in %.1f s", len(facts["variants"]), stage.target, seconds)


if __name__ == "__main__":
    stage_main("time", main, __doc__, per="target")
