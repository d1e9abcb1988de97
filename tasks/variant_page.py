"""The page of a variant, made from its outcome and metrics."""

from typing import Any

from torch import nn

from slimline.measure.layers import compare_layers
from slimline.objectives import Objective
from slimline.params import TEACHER
from slimline.report.figures import line_figure
from slimline.report.numbers import quantity
from slimline.report.page import Figure, Row, StagePage, Table
from slimline.stage import Stage
from slimline.training.history import FitHistory
from tasks.outcome import Outcome


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


def variant_page(stage: Stage, outcome: Outcome, metrics: dict[str, Any], packed: tuple[Table, ...]) -> StagePage:
    """The page of a variant: beside the teacher, beside its source, and how it was trained."""
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
