"""Stage `evaluate`: what one variant on one target answers on the test split, beside the teacher.

in      data/compiled/<variant>-<target>, data/models/{<variant>,teacher}, data/prepared/test.parquet
out     data/evaluated/<variant>-<target>/{predictions,flipped}.parquet, reports/metrics/evaluate/<variant>-<target>.json
params  workload, seed, evaluate, gate.metric, gate.confidence

Equal on every machine that computes alike; what a clock or a meter says is the stage `time`. The gate itself is applied by `report`.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import sha256_of, whole_folder
from slimline.artifact.missed import require_made
from slimline.artifact.variant import load_variant
from slimline.errors import DataError, SlimlineError, StageError
from slimline.measure.compute import Compute, count
from slimline.measure.flips import count_flips, flipped_samples, predictions_table, recall_per_class
from slimline.measure.quality import quality
from slimline.measure.size import size_bytes, size_ratio
from slimline.params import TEACHER, Params
from slimline.report.evaluation import evaluation_page
from slimline.report.page import write_page
from slimline.stage import Stage, stage_main, write_metrics
from slimline.training.fit import predict
from slimline.verdict.difference import Resampling, metric_drop
from slimline.worker import Worker
from slimline.workloads import Workload
from slimline.workloads.prepared import load_table
from tasks.missed import note_miss

log = logging.getLogger(__name__)

MODELS, COMPILED, EVALUATED = Path("data/models"), Path("data/compiled"), Path("data/evaluated")
BASELINE, VARIANT = "baseline", "variant"

Floats = NDArray[np.float32]


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


def finite(who: str, logits: Floats, wrong_with: type[SlimlineError] = StageError) -> Floats:
    """The logits, if every one is a finite number.

    Raises:
        StageError, or what `wrong_with` says: one is not; the message counts the samples.
    """
    if wrong := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise wrong_with(f"{who}: {wrong} test samples got logits that are no finite numbers; look at the stage that made the weights")
    return logits


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


def main(stage: Stage) -> None:
    """Predict in a worker process, the teacher in this one; write predictions, the samples that flipped, the metrics and the page."""
    started, config, compiled = time.monotonic(), stage.params.evaluate, COMPILED / stage.label
    test = load_table("test")
    inputs, targets = stage.workload.inputs(test), test["label"].to_numpy(np.int64)
    require_made(compiled)
    with Worker(compiled, threads=config.threads, workload=stage.params.workload) as worker:
        outputs = finite(str(compiled), worker.predict(inputs.numpy(), config.batch_size))
    teacher = load_variant(MODELS / TEACHER, stage.workload).model
    baseline = finite(str(MODELS / TEACHER), predict(teacher, inputs, config.batch_size).numpy(), DataError)
    facts, table = run(Logits(baseline, outputs, targets), stage.workload, stage.params)
    facts = merged(facts, _identity(stage, read_compiled(compiled), compiled))
    with whole_folder(EVALUATED / stage.label) as folder:
        table.to_parquet(folder / "predictions.parquet")
        flipped_samples(table, test).to_parquet(folder / "flipped.parquet")
    page = evaluation_page(facts)
    write_metrics(stage, facts)
    write_page(page, stage.page_path)
    log.info("evaluate: %s in %.1f s: %s", stage.label, time.monotonic() - started, page.summary[0])


if __name__ == "__main__":
    stage_main("evaluate", main, __doc__, per="pair", on_miss=note_miss)
