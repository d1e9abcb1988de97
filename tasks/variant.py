"""What the stages that make a variant share: read its source, train it, save it, and tell how it compares.

A stage makes an `Outcome`; `save_outcome` writes the artifact, the metrics and the page from it.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from slimline.artifact.manifest import Manifest
from slimline.artifact.variant import load_variant, save_variant
from slimline.data.batch import Batch
from slimline.data.prepared import load_split
from slimline.data.samples import Split, head
from slimline.errors import StageError
from slimline.measure.compute import count
from slimline.measure.estimated_time import estimated_time
from slimline.measure.layers import weight_bytes
from slimline.measure.size import size_bytes
from slimline.objectives import figures, worse_by
from slimline.params import TEACHER, EditParams, Recovery
from slimline.report.packing import packing_table
from slimline.report.page import write_page
from slimline.stage import Stage, write_metrics
from slimline.training.data import TrainingData
from slimline.training.device import computed_on
from slimline.training.fit import fit, scored
from slimline.training.history import FitHistory
from slimline.training.lora import NOTHING, Rounding, fit_updates
from slimline.training.masks import zero_masks
from tasks.announced import announced
from tasks.checkpoints import MODELS, CheckpointFiles
from tasks.missed import note_miss
from tasks.outcome import Origin, Outcome
from tasks.variant_page import variant_page

log = logging.getLogger(__name__)
CALIBRATION = Path("data/calibration")


def load_origin(stage: Stage) -> Origin:
    """Read the source variant, the teacher and the validation split."""
    teacher = load_variant(MODELS / TEACHER, stage.workload)
    source = teacher if stage.config.source == TEACHER else load_variant(MODELS / stage.config.source, stage.workload)
    validation = load_split(stage.workload.samples, "validation")
    return Origin(source, teacher, validation, head(validation, 2).inputs)


def training_data(stage: Stage, origin: Origin, train: Split) -> TrainingData:
    """What every training is given."""
    return TrainingData(
        train=train,
        validation=origin.validation,
        objective=stage.workload.objective,
        metric=stage.metric,
        seed=stage.params.seed,
        augment=stage.workload.augmentation,
        on_epoch=announced(stage.variant),
        checkpoints=CheckpointFiles(stage),
    )


def recover(
    model: nn.Module, source: nn.Module, config: Recovery, data: TrainingData, rounding: Mapping[str, Rounding] = NOTHING
) -> tuple[nn.Module, FitHistory]:
    """Train on what an edit made of `source`, or low-rank updates of it; pruned weights stay zero, shapes stay as they are.

    `rounding` is of the weights that are to end on a grid.
    """
    masks = zero_masks(model, before=source)
    if config.lora_rank is None:
        return fit(model, config=config, masks=masks, **data.settings)
    return fit_updates(model, config=config, masks=masks, rounding=rounding, **data.settings)


def require_shrunk(stage: Stage, example: Batch, before: nn.Module, after: nn.Module) -> None:
    """Hold the method to what it declares: fewer parameters, MACs and bytes, or, where shapes stay, fewer non-zeros.

    Raises:
        StageError: one of them did not fall; the message has the numbers.
    """
    old, new = count(before, example), count(after, example)
    pairs = {"non-zero weights": (old.nonzero, new.nonzero)}
    if stage.config.changes_shape:
        sizes = (weight_bytes(before), weight_bytes(after))
        pairs = {"parameters": (old.parameters, new.parameters), "MACs": (old.macs, new.macs), "bytes of weights": sizes}
    if any(now >= was for was, now in pairs.values()):
        numbers = ", ".join(f"{name} {was:,} -> {now:,}" for name, (was, now) in pairs.items())
        where = f"{stage.name}.{stage.variant}"
        raise StageError(f"{where}: did not shrink {stage.config.source!r}: {numbers}; make it stronger in params.yaml, or remove it")


def note_missed(stage: Stage, error: StageError) -> None:
    """As `note_miss`; what was kept of its trainings is needed no more."""
    CheckpointFiles(stage).clear()
    note_miss(stage, error)


def save_outcome(stage: Stage, origin: Origin, outcome: Outcome) -> None:
    """Write data/models/<variant>/, the metrics and the page; its checkpoints are needed no more."""
    folder, pack = MODELS / stage.variant, stage.config.pack if isinstance(stage.config, EditParams) else "none"
    wanted = _manifest(stage, origin, outcome)
    packing = save_variant(folder, outcome.model, wanted, stage.workload, outcome.plan, outcome.grids, pack=pack).packing
    metrics = _metrics(stage, origin, outcome) | ({} if packing is None else {"packing": packing.model_dump()})
    write_metrics(stage, metrics)
    write_page(variant_page(stage, outcome, metrics, packing_table(packing)), stage.page_path)
    now, before = metrics["validation"][stage.metric], metrics["teacher_validation"][stage.metric]
    times = metrics["baseline"]["size_bytes"] / metrics["size_bytes"]
    CheckpointFiles(stage).clear()
    log.info("%s: validation %s %.4f (teacher %.4f), %.2f times smaller", stage.variant, stage.metric, now, before, times)


def _manifest(stage: Stage, origin: Origin, outcome: Outcome) -> Manifest:
    return Manifest(
        workload=stage.workload.name,
        variant=stage.variant,
        stage=stage.name,
        method=stage.config.method,
        config=stage.config.model_dump(mode="json"),
        source=stage.config.source,
        lineage=stage.params.lineage(stage.variant),
        architecture=outcome.architecture or origin.source.manifest.architecture,
        structure={},
        seed=stage.params.seed,
        signature=origin.teacher.manifest.signature,
        objective=origin.teacher.manifest.objective,
        computed_on=computed_on(stage.config),
    )


def _metrics(stage: Stage, origin: Origin, outcome: Outcome) -> dict[str, Any]:
    sizes = outcome.sizes
    quality, before = (_quality(stage, origin, model) for model in (outcome.judged or outcome.model, origin.teacher.model))
    return {
        "stage": stage.name,
        "variant": stage.variant,
        "method": stage.config.method,
        "source": stage.config.source,
        "validation": quality,
        "teacher_validation": before,
        "estimated": _estimated(stage, origin, outcome, quality, before),
        "source_validation": _quality(stage, origin, origin.source.model),
        **_facts(origin, outcome.model, sizes.variant if sizes else size_bytes(MODELS / stage.variant)),
        "baseline": _facts(origin, origin.teacher.model, sizes.teacher if sizes else size_bytes(MODELS / TEACHER)),
        "from": _facts(origin, origin.source.model, sizes.source if sizes else size_bytes(MODELS / stage.config.source)),
        "training": {"epochs": len(outcome.history.epochs), "best_epoch": outcome.history.best_epoch},
        **outcome.details,
    }


def _facts(origin: Origin, model: nn.Module, stored: int) -> dict[str, int]:
    compute = count(model, origin.example)
    return {"parameters": compute.parameters, "nonzero": compute.nonzero, "macs": compute.macs, "size_bytes": stored}


def _estimated(
    stage: Stage, origin: Origin, outcome: Outcome, quality: Mapping[str, float], before: Mapping[str, float]
) -> dict[str, float | str]:
    """What a search compares chains by: the drop on validation, in the metric's unit, and times less time by priced MACs."""
    metric = stage.workload.objective.metrics[stage.metric]
    times = [estimated_time(model, origin.example, plan) for model, plan in ((origin.teacher.model, None), (outcome.model, outcome.plan))]
    drop = worse_by(metric, before[stage.metric], quality[stage.metric])
    return {"metric": stage.metric, "unit": metric.unit, "drop": drop, "time_ratio": times[0] / times[1] if times[1] else 1.0}


def _quality(stage: Stage, origin: Origin, model: nn.Module) -> dict[str, float]:
    objective = stage.workload.objective
    return figures(objective, scored(model, origin.validation, objective))
