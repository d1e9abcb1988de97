"""Stage `evaluate`: one variant on one target, on the test split, beside the teacher.

in      data/compiled/<variant>-<target>, data/compiled/teacher-<target>, data/models/{<variant>,teacher}, data/prepared/test.parquet
out     data/evaluated/<variant>-<target>/{predictions,flipped}.parquet, reports/metrics/evaluate/<variant>-<target>.json and .timing.json
params  workload, seed, evaluate, gate.metric, gate.confidence

Quality is deterministic; everything that a clock touches stands in the timing file. The gate itself is applied by `report`.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import sha256_of, whole_folder, write_json
from slimline.artifact.missed import require_made
from slimline.artifact.variant import load_variant
from slimline.errors import ArtifactError, DataError, SlimlineError, StageError
from slimline.measure.compute import Compute, count
from slimline.measure.energy import energy_per_call
from slimline.measure.flips import count_flips, flipped_samples, predictions_table, recall_per_class
from slimline.measure.latency import calls_per_sample, interleave, percentiles, speed_ratio
from slimline.measure.machine import machine
from slimline.measure.quality import quality
from slimline.measure.size import size_bytes, size_ratio
from slimline.measure.timing import Sample
from slimline.params import TEACHER, EvaluateParams, Params
from slimline.report.evaluation import evaluation_page
from slimline.report.page import write_page
from slimline.stage import Stage, stage_main, write_metrics
from slimline.verdict.difference import Resampling, metric_drop
from slimline.verdict.noise import noise_floor
from slimline.worker import Worker
from slimline.workloads import Workload
from slimline.workloads.prepared import load_table
from tasks.missed import note_miss

log = logging.getLogger(__name__)

MODELS, COMPILED, EVALUATED = Path("data/models"), Path("data/compiled"), Path("data/evaluated")
BASELINE, VARIANT, SAME_RUNTIME, TWIN = "baseline", "variant", "same_runtime", "twin"
ENERGY_S = 0.3

Floats = NDArray[np.float32]
Workers = Mapping[str, Worker]


@dataclass(frozen=True)
class Logits:
    """What both models say of the test split: logits [N, classes] and the true class indices [N]."""

    baseline: Floats
    variant: Floats
    targets: NDArray[np.int64]


def run(logits: Logits, workload: Workload, params: Params) -> tuple[dict[str, Any], pd.DataFrame]:
    """Quality, the drop against the baseline, flips and recall per class; and the predictions, one row a sample."""
    config, confidence = params.evaluate, params.gate.confidence
    resampling = Resampling(config.resamples, confidence, params.seed)
    table = predictions_table(logits.targets, logits.baseline, logits.variant)
    drop = metric_drop(params.gate.metric, (logits.baseline, logits.variant), logits.targets, workload.metrics, resampling)
    flips = count_flips(table)
    judged = {
        who: quality(outputs, logits.targets, workload.metrics, config.resamples, confidence, params.seed)
        for who, outputs in ((BASELINE, logits.baseline), (VARIANT, logits.variant))
    }
    facts = {
        "samples": len(table),
        "confidence": confidence,
        "quality": judged[VARIANT],
        "baseline": {"quality": judged[BASELINE]},
        "drop": drop.as_json(),
        "detectable_drop": drop.detectable,
        "flips": {"lost": flips.lost, "gained": flips.gained},
        "per_class": recall_per_class(table, workload.labels),
    }
    return facts, table


def time_workers(workers: Workers, batches: Mapping[str, Path], config: EvaluateParams, confidence: float) -> dict[str, Any]:
    """Latencies and speed ratios of the variant against both baselines, and its noise floor against its own twin."""
    samples = {name: interleave(workers, batch, config.pairs) for name, batch in batches.items()}
    energy = energy_per_call(lambda: _busy(workers[VARIANT], batches["batch_1"]))
    return {
        "latency_ms": _latencies(samples, VARIANT),
        "speed_ratio": _ratios(samples, BASELINE, confidence),
        "speed_ratio_same_runtime": _ratios(samples, SAME_RUNTIME, confidence),
        "noise_floor": {name: noise_floor(ratio) for name, ratio in _ratios(samples, TWIN, confidence).items()},
        "baseline": {"latency_ms": _latencies(samples, BASELINE)},
        "same_runtime_baseline": {"latency_ms": _latencies(samples, SAME_RUNTIME)},
        "calls": {name: sum(len(sample.wall_ms) for sample in found[VARIANT]) for name, found in samples.items()},
        "energy_mj": energy.millijoules,
        "energy_reason": energy.reason,
        "pairs": config.pairs,
    }


def _latencies(samples: Mapping[str, Mapping[str, list[Sample]]], who: str) -> dict[str, dict[str, float]]:
    return {name: percentiles(found[who]) for name, found in samples.items()}


def _ratios(samples: Mapping[str, Mapping[str, list[Sample]]], baseline: str, confidence: float) -> dict[str, dict[str, Any]]:
    return {name: speed_ratio(found[baseline], found[VARIANT], confidence) for name, found in samples.items()}


def _busy(worker: Worker, batch: Path) -> int:
    """Keep a worker busy for some tenths of a second; returns how many calls it made, as many untimed ones included."""
    many = calls_per_sample(worker, batch)
    calls, until = 0, time.monotonic() + ENERGY_S
    while time.monotonic() < until:
        worker.time(batch, many)
        calls += 2 * many
    return calls


@contextmanager
def _workers(locations: Mapping[str, Path], threads: int, workload: str) -> Iterator[Workers]:
    """One process a location; they load side by side."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(location, threads=threads, workload=workload)) for name, location in locations.items()}
        for worker in workers.values():
            log.info("evaluate: %s runs with %s", worker.location, worker.state["execution"])
        yield workers


def _memory(workers: Workers, inputs: Floats, batch_size: int) -> dict[str, Any]:
    """What each fresh process held after both batch sizes ran once, before anything else."""
    peaks = {}
    for name in (BASELINE, VARIANT, SAME_RUNTIME):
        workers[name].predict(inputs[:1], 1)
        workers[name].predict(inputs[:batch_size], batch_size)
        peaks[name] = {"peak_memory_bytes": workers[name].peak_memory_bytes()}
    return {**peaks[VARIANT], "baseline": peaks[BASELINE], "same_runtime_baseline": peaks[SAME_RUNTIME]}


def finite(who: str, logits: Floats, wrong_with: type[SlimlineError] = StageError) -> Floats:
    """The logits, if every one is a finite number.

    Raises:
        StageError, or what `wrong_with` says: one is not; the message counts the samples.
    """
    if wrong := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise wrong_with(f"{who}: {wrong} test samples got logits that are no finite numbers; look at the stage that made the weights")
    return logits


@contextmanager
def _stored(inputs: Floats, batch_size: int) -> Iterator[dict[str, Path]]:
    """The two batches to time, as files that the workers read; a short test split is repeated to fill the larger one."""
    with tempfile.TemporaryDirectory(prefix="slimline-evaluate-") as folder:
        paths = {f"batch_{size}": Path(folder) / f"batch_{size}.npy" for size in (1, batch_size)}
        for size, path in zip((1, batch_size), paths.values(), strict=True):
            np.save(path, np.resize(inputs, (size, *inputs.shape[1:])), allow_pickle=False)
        yield paths


def merged(*facts: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings as one; a mapping that stands under the same key in several is merged too."""
    result: dict[str, Any] = {}
    for part in facts:
        for key, value in part.items():
            result[key] = merged(result[key], value) if isinstance(value, Mapping) and key in result else value
    return result


def _compute(variant: str, workload: Workload) -> Compute:
    return count(load_variant(MODELS / variant, workload).model, workload.example_input())


def _identity(stage: Stage, manifest: CompiledManifest, compiled: Path) -> dict[str, Any]:
    """Which artifact this is, and what it weighs beside the teacher."""
    compute, teacher = _compute(stage.variant, stage.workload), _compute(TEACHER, stage.workload)
    bytes_now, bytes_before = size_bytes(compiled), size_bytes(MODELS / TEACHER)
    return {
        "schema": 1,
        **{key: getattr(manifest, key) for key in ("variant", "target", "stage", "method", "source", "precision", "computes")},
        "artifact_sha256": sha256_of(compiled / "manifest.json"),
        "size_bytes": bytes_now,
        "size_ratio": size_ratio(bytes_before, bytes_now),
        **vars(compute),
        "baseline": {"size_bytes": bytes_before, **vars(teacher)},
    }


def _locations(stage: Stage) -> dict[str, Path]:
    """Who is timed, in this order: the variant and its twin stand in the middle, so that both follow a teacher equally often."""
    compiled, teacher = COMPILED / stage.label, COMPILED / f"{TEACHER}-{stage.target}"
    require_made(compiled)
    if not teacher.is_dir():
        raise ArtifactError(f"{teacher}: missing; the speed on the same runtime needs it: list 'teacher' in params.yaml: deploy.variants")
    return {BASELINE: MODELS / TEACHER, VARIANT: compiled, TWIN: compiled, SAME_RUNTIME: teacher}


def main(stage: Stage) -> None:
    """Measure in worker processes; write predictions, the samples that flipped, both metrics files and the page."""
    started, config = time.monotonic(), stage.params.evaluate
    locations = _locations(stage)
    test = load_table("test")
    inputs, targets = stage.workload.inputs(test).numpy(), test["label"].to_numpy(np.int64)
    with _workers(locations, config.threads, stage.params.workload) as workers, _stored(inputs, config.batch_size) as batches:
        memory = _memory(workers, inputs, config.batch_size)
        outputs = {
            who: finite(str(locations[who]), workers[who].predict(inputs, config.batch_size), wrong_with)
            for who, wrong_with in ((BASELINE, DataError), (VARIANT, StageError))
        }
        timing = time_workers(workers, batches, config, stage.params.gate.confidence)
        runtimes = {name: workers[name].state for name in (BASELINE, VARIANT, SAME_RUNTIME)}
    quality_facts, table = run(Logits(outputs[BASELINE], outputs[VARIANT], targets), stage.workload, stage.params)
    facts = merged(quality_facts, _identity(stage, read_compiled(locations[VARIANT]), locations[VARIANT]))
    precision = {"same_runtime_baseline": {"precision": read_compiled(locations[SAME_RUNTIME]).computes}}
    timing = merged(timing, memory, precision, {"schema": 1, "runtimes": runtimes, "machine": machine(config.threads)})
    _write(stage, facts, timing | {"seconds": time.monotonic() - started}, {"predictions": table, "flipped": flipped_samples(table, test)})


def _write(stage: Stage, facts: dict[str, Any], timing: dict[str, Any], tables: Mapping[str, pd.DataFrame]) -> None:
    page = evaluation_page(facts, timing)
    with whole_folder(EVALUATED / stage.label) as folder:
        for name, table in tables.items():
            table.to_parquet(folder / f"{name}.parquet")
    write_metrics(stage, facts)
    write_json(stage.metrics_path.with_name(f"{stage.label}.timing.json"), timing)
    write_page(page, stage.page_path)
    log.info("evaluate: %s in %.1f s: %s", stage.label, timing["seconds"], page.summary[0])


if __name__ == "__main__":
    stage_main("evaluate", main, __doc__, per="target", on_miss=note_miss)
