"""Stage `evaluate`: what one variant on one target answers on the test split, beside the teacher.

in      data/compiled/<variant>-<target>, data/models/{<variant>,teacher}, data/prepared/test.arrow
out     data/evaluated/<variant>-<target>/{predictions.parquet,changed.arrow}, reports/metrics/evaluate/<variant>-<target>.json
params  workload, seed, evaluate, gate.metric, gate.confidence

Equal on every machine that computes alike; what a clock or a meter says is the stage `time`. The gate itself is applied by `report`.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import sha256_of, whole_folder
from slimline.artifact.missed import require_made
from slimline.artifact.variant import load_variant
from slimline.data.batch import Batch, Tensors, as_arrays, as_tensors, flat
from slimline.data.prepared import load_split, load_table
from slimline.data.samples import Split, head, in_order
from slimline.data.table import write_numbered
from slimline.errors import DataError, SlimlineError, StageError
from slimline.measure.compute import Compute, count
from slimline.measure.flips import flips, predictions_table, worst
from slimline.measure.quality import clusters, quality
from slimline.measure.size import size_bytes, size_ratio
from slimline.objectives import Objective, Scores, joined_scores
from slimline.params import TEACHER, Params
from slimline.report.evaluation import evaluation_page
from slimline.report.page import write_page
from slimline.stage import Stage, stage_main, write_metrics
from slimline.training.fit import held_together, predict
from slimline.verdict.difference import Resampling, metric_drop
from slimline.verdict.family import upper_bounds
from slimline.worker import Worker
from tasks.missed import note_miss
from tasks.side_by_side import side_by_side

log = logging.getLogger(__name__)

MODELS, COMPILED, EVALUATED = Path("data/models"), Path("data/compiled"), Path("data/evaluated")
BASELINE, VARIANT = "baseline", "variant"
KEPT = 48
"""So many samples whose error grew most are kept to be shown."""
HELD = 256
"""So many samples are predicted at a time, in whole batches; fewer where outputs are large."""


@dataclass(frozen=True)
class Answered:
    """What both models say of some test samples: the scores of each, and a row a sample for people."""

    baseline: Scores
    variant: Scores
    predictions: pd.DataFrame


def run(answered: Answered, objective: Objective, metric: str, params: Params) -> dict[str, Any]:
    """Quality, the drop against the baseline, flips and the figures group by group."""
    config, confidence = params.evaluate, params.gate.confidence
    resampling = Resampling(config.resamples, confidence, params.seed)
    drop = metric_drop(objective, metric, answered.baseline, answered.variant, resampling)
    found = flips(answered.baseline, answered.variant)
    judged = {
        who: described(objective, quality(objective, scores, config.resamples, confidence, params.seed))
        for who, scores in ((BASELINE, answered.baseline), (VARIANT, answered.variant))
    }
    asked = objective.metrics[metric]
    return {
        "samples": len(answered.predictions),
        "clusters": clusters(answered.baseline),
        "confidence": confidence,
        "quality": judged[VARIANT],
        "baseline": {"quality": judged[BASELINE], "groups": objective.groups(answered.baseline)},
        "drop": drop.as_json() | {"unit": asked.unit, "better": asked.better},
        "detectable_drop": drop.detectable,
        "upper_bounds": upper_bounds(objective, metric, answered.baseline, answered.variant, resampling),
        "flips": None if found is None else vars(found),
        "groups": objective.groups(answered.variant),
    }


def described(objective: Objective, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each metric's figure with its unit and which way is good."""
    return {name: {**figures[name], "unit": metric.unit, "better": metric.better} for name, metric in objective.metrics.items()}


def answers_of(teacher: nn.Module, worker: Worker, test: Split, objective: Objective, batch_size: int) -> Iterator[Answered]:
    """What both say of the test split, some samples at a time: nothing but scores and answers is held.

    Raises:
        StageError: the variant gives numbers that are not finite.
        DataError: the teacher does.
    """
    for samples in in_order(test, batch_size * max(1, held_together(teacher, test, HELD) // batch_size)):
        outputs = as_tensors(worker.predict(as_arrays(samples.inputs), batch_size))
        baseline = predict(teacher, samples.inputs, batch_size)
        finite(str(worker.location), outputs, StageError)
        finite(str(MODELS / TEACHER), baseline, DataError)
        targets = samples.targets if objective.needs_targets else baseline
        before, after = (objective.scores(each, targets) for each in (baseline, outputs))
        after |= objective.beside(outputs, baseline, targets)
        yield Answered(before, after, predictions_table(objective, targets, baseline, outputs))


def together(parts: Iterable[Answered]) -> Answered:
    """All samples as one."""
    found = list(parts)
    rows = pd.concat([part.predictions for part in found], ignore_index=True)
    return Answered(
        joined_scores([part.baseline for part in found]),
        joined_scores([part.variant for part in found]),
        rows.assign(index=np.arange(len(rows), dtype=np.int64)),
    )


def changed(answered: Answered) -> list[int]:
    """The samples that are kept to be shown: those that flipped, or those whose error grew most."""
    if flips(answered.baseline, answered.variant) is not None:
        return np.flatnonzero(answered.baseline["error"] != answered.variant["error"]).tolist()
    return [int(row) for row in worst(answered.baseline, answered.variant, KEPT)]


def finite(who: str, outputs: Tensors, wrong_with: type[SlimlineError]) -> None:
    """Hold outputs to being finite numbers.

    Raises:
        SlimlineError: of the kind `wrong_with`, where one is not; the message counts the samples.
    """
    if wrong := int((~flat(outputs).isfinite()).any(dim=1).sum()):
        raise wrong_with(f"{who}: {wrong} test samples got outputs that are no finite numbers; look at the stage that made the weights")


def merged(*facts: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings as one; a mapping that stands under the same key in several is merged too."""
    result: dict[str, Any] = {}
    for part in facts:
        for key, value in part.items():
            result[key] = merged(result[key], value) if isinstance(value, Mapping) and key in result else value
    return result


def _compute(variant: str, stage: Stage, example: Batch) -> Compute:
    return count(load_variant(MODELS / variant, stage.workload).model, example)


def _identity(stage: Stage, manifest: CompiledManifest, compiled: Path, example: Batch) -> dict[str, Any]:
    """Which artifact this is, and what it weighs beside the teacher."""
    compute, teacher = (_compute(name, stage, example) for name in (stage.variant, TEACHER))
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
    """Predict in a worker process, the teacher in this one; write predictions, the samples that changed, the metrics and the page."""
    started, config, compiled = time.monotonic(), stage.params.evaluate, COMPILED / stage.label
    test, objective = load_split(stage.workload.samples, "test"), stage.workload.objective
    require_made(compiled)
    teacher = load_variant(MODELS / TEACHER, stage.workload).model
    with Worker(compiled, threads=config.threads, workload=stage.params.workload) as worker:
        answered = together(answers_of(teacher, worker, test, objective, config.batch_size))
        written = side_by_side(teacher, worker, test, stage.workload, str(stage.target))
    facts = run(answered, objective, stage.metric, stage.params)
    facts = merged(
        {} if written is None else {"generations": written},
        facts,
        _identity(stage, read_compiled(compiled), compiled, head(test, 1).inputs),
    )
    with whole_folder(EVALUATED / stage.label) as folder:
        answered.predictions.to_parquet(folder / "predictions.parquet")
        write_numbered(folder / "changed.arrow", load_table("test"), changed(answered))
    page = evaluation_page(facts)
    write_metrics(stage, facts)
    write_page(page, stage.page_path)
    log.info("evaluate: %s in %.1f s: %s", stage.label, time.monotonic() - started, page.summary[0])


if __name__ == "__main__":
    stage_main("evaluate", main, __doc__, per="pair", on_miss=note_miss)
