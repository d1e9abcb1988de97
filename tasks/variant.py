"""What the stages that make a variant share: read its source, train it, save it, and tell how it compares.

A stage makes an `Outcome`; `save_outcome` writes the artifact, the metrics and the page from it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import Variant, load_variant, save_variant
from slimline.data.batch import Batch
from slimline.data.prepared import load_split
from slimline.data.samples import Split, head
from slimline.errors import StageError
from slimline.measure.compute import count
from slimline.measure.layers import compare_layers, weight_bytes
from slimline.measure.size import size_bytes
from slimline.objectives import Objective, figures
from slimline.params import TEACHER, EditParams, Recovery
from slimline.report.figures import line_figure
from slimline.report.numbers import quantity
from slimline.report.packing import packing_table
from slimline.report.page import Figure, Row, StagePage, Table, write_page
from slimline.stage import Stage, write_metrics
from slimline.training.data import TrainingData
from slimline.training.device import computed_on
from slimline.training.fit import Epoch, FitHistory, fit, scored
from slimline.training.lora import NOTHING, Rounding, fit_updates
from slimline.training.masks import zero_masks

log = logging.getLogger(__name__)
MODELS = Path("data/models")
CALIBRATION = Path("data/calibration")


@dataclass(frozen=True)
class Origin:
    """What a variant starts from and is compared with: its source, the teacher, the validation split, and two samples of it."""

    source: Variant
    teacher: Variant
    validation: Split
    example: Batch


@dataclass(frozen=True)
class Sizes:
    """Bytes of the weights alone, counted in the same way for all three."""

    variant: int
    teacher: int
    source: int


@dataclass(frozen=True)
class Outcome:
    """What a stage made.

    `model` is saved. `judged` gives the validation figures where it is another one (a plan's simulation), and `sizes` stand in
    for the bytes of the folders where the variant's own form is no measure of them. `details` go into the metrics.
    """

    model: nn.Module
    summary: tuple[str, ...]
    history: FitHistory = field(default_factory=FitHistory)
    plan: dict[str, Any] | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)
    judged: nn.Module | None = None
    architecture: Architecture | None = None
    sizes: Sizes | None = None
    details: dict[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


def load_origin(stage: Stage) -> Origin:
    """Read the source variant, the teacher and the validation split."""
    teacher = load_variant(MODELS / TEACHER, stage.workload)
    source = teacher if stage.config.source == TEACHER else load_variant(MODELS / stage.config.source, stage.workload)
    validation = load_split(stage.workload.samples, "validation")
    return Origin(source, teacher, validation, head(validation, 2).inputs)


def training_data(stage: Stage, origin: Origin, train: Split) -> TrainingData:
    """What every training is given."""

    def announce(epoch: Epoch) -> None:
        log.info("%s: epoch %d, loss %.4f, validation %.4f", stage.variant, epoch.number, epoch.loss, epoch.metric)

    return TrainingData(
        train=train,
        validation=origin.validation,
        objective=stage.workload.objective,
        metric=stage.metric,
        seed=stage.params.seed,
        augment=stage.workload.augmentation,
        on_epoch=announce,
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


def save_outcome(stage: Stage, origin: Origin, outcome: Outcome) -> None:
    """Write data/models/<variant>/, the metrics and the page."""
    folder, pack = MODELS / stage.variant, stage.config.pack if isinstance(stage.config, EditParams) else "none"
    wanted = _manifest(stage, origin, outcome)
    packing = save_variant(folder, outcome.model, wanted, stage.workload, outcome.plan, outcome.grids, pack=pack).packing
    metrics = _metrics(stage, origin, outcome) | ({} if packing is None else {"packing": packing.model_dump()})
    write_metrics(stage, metrics)
    write_page(_page(stage, outcome, metrics, packing_table(packing)), stage.page_path)
    now, before = metrics["validation"][stage.metric], metrics["teacher_validation"][stage.metric]
    times = metrics["baseline"]["size_bytes"] / metrics["size_bytes"]
    log.info("%s: validation %s %.4f (teacher %.4f), %.2f times smaller", stage.variant, stage.metric, now, before, times)


def layer_table(before: nn.Module, after: nn.Module) -> Table:
    """What became of each layer."""
    rows = tuple(
        (
            change.name,
            change.before.shape_text,
            " + ".join(layer.shape_text for layer in change.after),
            change.before.parameters,
            change.parameters,
            f"{change.zero_share:.1%}",
        )
        for change in compare_layers(before, after)
    )
    return Table("Layer by layer", ("layer", "weight before", "weight after", "parameters before", "parameters after", "zero"), rows)


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
    return {
        "stage": stage.name,
        "variant": stage.variant,
        "method": stage.config.method,
        "source": stage.config.source,
        "validation": _quality(stage, origin, outcome.judged or outcome.model),
        "teacher_validation": _quality(stage, origin, origin.teacher.model),
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


def _quality(stage: Stage, origin: Origin, model: nn.Module) -> dict[str, float]:
    objective = stage.workload.objective
    return figures(objective, scored(model, origin.validation, objective))


def _page(stage: Stage, outcome: Outcome, metrics: dict[str, Any], packed: tuple[Table, ...]) -> StagePage:
    source, teacher = metrics["source"], metrics["baseline"]
    quality = [
        Row(f"validation {name}", metrics["teacher_validation"][name], metrics["validation"][name], metric.unit, metric.better)
        for name, metric in stage.workload.objective.metrics.items()
    ]
    sizes = [
        Row("parameters", teacher["parameters"], metrics["parameters"], better="lower"),
        Row("non-zeros", teacher["nonzero"], metrics["nonzero"], better="lower"),
        Row("MACs", teacher["macs"], metrics["macs"], better="lower"),
        Row("size of the weights" if outcome.sizes else "size", teacher["size_bytes"], metrics["size_bytes"], "bytes", "lower"),
    ]
    chain = () if source == TEACHER else (_source_table(metrics, stage.workload.objective),)
    return StagePage(
        stage=stage.name,
        variant=stage.variant,
        title=f"{stage.variant}: {stage.name} by {stage.config.method}",
        summary=(f"Made from {source}.", *outcome.summary, stage.config.judgement),
        comparison=(*quality, *sizes),
        tables=(*chain, *packed, *outcome.tables),
        figures=(*_training_figures(outcome.history), *outcome.figures),
        notes=("Quality is on the validation split, on which choices are made; the stage evaluate has the test split.", *outcome.notes),
    )


def _source_table(metrics: dict[str, Any], objective: Objective) -> Table:
    quality = [
        (f"validation {name}", *(quantity(metrics[who][name], metric.unit) for who in ("source_validation", "validation")))
        for name, metric in objective.metrics.items()
    ]
    names = {"parameters": "parameters", "nonzero": "non-zeros", "macs": "MACs", "size_bytes": "bytes"}
    sizes = [(name, metrics["from"][key], metrics[key]) for key, name in names.items()]
    return Table("Beside its source", ("", metrics["source"], metrics["variant"]), (*quality, *sizes))


def _training_figures(history: FitHistory) -> tuple[Figure, ...]:
    if not history.epochs:
        return ()
    kept = f"The weights of epoch {history.best_epoch} are kept, chosen on validation."
    reached = line_figure({"validation": [(x.number, x.metric) for x in history.epochs]}, x_label="epoch", y_label="validation metric")
    loss = line_figure({"training": [(x.number, x.loss) for x in history.epochs]}, x_label="epoch", y_label="training loss")
    return Figure("Validation metric by epoch", reached, kept), Figure("Training loss by epoch", loss)
