"""Stage `calibrate`: what the calibration sample does inside the teacher, and how much each layer minds being changed.

in      data/models/teacher, data/prepared/{calibration,validation}.arrow
out     data/calibration: statistics.json, statistics.safetensors, sensitivity.json
params  workload, seed, calibrate, gate.metric
"""

import logging
from pathlib import Path
from typing import Any

from torch import nn

from slimline.artifact.folder import whole_folder, write_json
from slimline.artifact.variant import load_variant
from slimline.calibration.sensitivity import KEPT_ENERGY, PRUNED_FRACTION, plain, sensitivity
from slimline.calibration.statistics import CalibrationStatistics, collect_statistics, save_statistics
from slimline.data.batch import Batch
from slimline.data.prepared import load_batch, load_split
from slimline.data.samples import Split
from slimline.objectives import Objective
from slimline.params import TEACHER, CalibrateParams
from slimline.report.figures import bar_figure, histogram_figure
from slimline.report.page import Figure, StagePage, Table, write_page
from slimline.stage import Stage, stage_main, write_metrics
from slimline.training.device import described, device_of

log = logging.getLogger(__name__)
FOLDER = Path("data/calibration")
MODELS = Path("data/models")
SHOWN_BINS = 64
KINDS = {
    "quantize": "int8",
    "prune": f"{PRUNED_FRACTION:.0%} pruned",
    "channels": f"without {PRUNED_FRACTION:.0%} of its channels",
    "factorize": f"factorized at energy {KEPT_ENERGY:g}",
}
Effects = dict[str, dict[str, dict[str, float] | None]]

JUDGED = "each was then changed alone and judged on the validation split"
LEFT_OUT = "what each minds was not tried (calibrate.sensitivity_samples: 0)"


def run(
    model: nn.Module, config: CalibrateParams, calibration: Batch, validation: Split, objective: Objective, metric: str
) -> tuple[CalibrationStatistics, Effects]:
    """Statistics of the calibration samples, and each layer's sensitivity on validation."""
    device = device_of(config.device)
    statistics = collect_statistics(model, calibration, config.batch_size, device)
    if not config.sensitivity_samples:
        return statistics, {}
    effects = sensitivity(
        model,
        statistics,
        calibration=calibration,
        validation=validation,
        objective=objective,
        metric=metric,
        samples=config.sensitivity_samples,
        device=device,
    )
    return statistics, plain(effects)


def activation_table(statistics: CalibrationStatistics) -> Table:
    """The range of each layer's inputs."""
    shown = ("0.01", "50", "99.99")
    rows = tuple(
        (name, layer.type, layer.minimum, *(layer.percentiles[percent] for percent in shown), layer.maximum)
        for name, layer in statistics.layers.items()
    )
    return Table("What goes into each layer", ("layer", "type", "min", *(f"{percent} %" for percent in shown), "max"), rows)


def sensitivity_table(effects: Effects, metric: str) -> Table:
    """Drop and output change, layer by layer."""
    columns = ("layer", *(f"{label}: {what}" for label in KINDS.values() for what in (f"{metric} drop", "output change")))
    rows = tuple((name, *(value for kind in KINDS for value in _cells(kinds[kind]))) for name, kinds in effects.items())
    note = (
        "Each layer is changed alone. A dash: it cannot be changed so, or would not get smaller by it. "
        "The channels of the last layer are the model's outputs; methods that remove channels leave them."
    )
    return Table("Sensitivity on the validation split", columns, rows, note)


def _cells(effect: dict[str, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if effect is None else (effect["drop"], effect["output_change"])


def figures(statistics: CalibrationStatistics, effects: Effects) -> tuple[Figure, ...]:
    """How far the outputs move by layer and change, and the inputs of the layer with the widest range; none where no layer was watched."""
    names = list(effects)
    if not names:
        return ()
    bars = tuple(
        Figure(
            f"Output change when only one layer is {label}",
            bar_figure(
                names,
                [_cells(effects[name][kind])[1] for name in names],
                x_label="layer",
                y_label="change",
            ),
        )
        for kind, label in KINDS.items()
    )
    widest = max(statistics.layers, key=lambda name: statistics.layers[name].maximum - statistics.layers[name].minimum)
    layer = statistics.layers[widest]
    step = len(layer.histogram) // SHOWN_BINS
    counts, edges = layer.histogram.view(SHOWN_BINS, step).sum(1).tolist(), layer.edges[::step].tolist()
    return *bars, Figure(
        f"Inputs of {widest}, the layer of the widest range", histogram_figure(edges, counts, x_label="value", y_label="count")
    )


def page(statistics: CalibrationStatistics, effects: Effects, config: CalibrateParams, metric: str) -> StagePage:
    """The stage's page."""
    ran = f"{statistics.samples_run} samples really ran, in {statistics.batches_run} batches of at most {statistics.batch_size}"
    short, elsewhere = statistics.samples_run < config.samples, described(device_of(config.device))
    return StagePage(
        stage="calibrate",
        variant="calibrate",
        title="Calibration of the teacher",
        summary=(
            f"{ran}{f'; {config.samples} were asked for, the calibration split has no more' if short else ''}.",
            f"{len(statistics.layers)} layers were watched; {JUDGED if effects else LEFT_OUT}.",
            *((f"The net ran on {elsewhere}: other bytes than on the CPU.",) if elsewhere else ()),
        ),
        comparison=(),
        tables=(activation_table(statistics), *([sensitivity_table(effects, metric)] if effects else [])),
        figures=figures(statistics, effects),
        notes=("The calibration split shares no sample with train, validation or test.",),
    )


def metrics(statistics: CalibrationStatistics, effects: Effects) -> dict[str, Any]:
    """What `dvc metrics show` lists: counts, and the worst drop of each change."""
    drops = {kind: [each["drop"] for kinds in effects.values() if (each := kinds[kind])] for kind in KINDS}
    return {
        "stage": "calibrate",
        "variant": "calibrate",
        "samples_run": statistics.samples_run,
        "batches_run": statistics.batches_run,
        "layers": len(statistics.layers),
        "worst_drop": {kind: max(values, default=None) for kind, values in drops.items()},
    }


def main(stage: Stage) -> None:
    """Run the sample, try the layers, write."""
    config, metric, workload = stage.params.calibrate, stage.metric, stage.workload
    teacher = load_variant(MODELS / TEACHER, workload).model
    calibration = load_batch(workload.samples, "calibration", config.samples)
    statistics, effects = run(teacher, config, calibration, load_split(workload.samples, "validation"), workload.objective, metric)
    with whole_folder(FOLDER) as draft:
        save_statistics(draft, statistics)
        write_json(draft / "sensitivity.json", {"metric": metric, "layers": effects})
    write_metrics(stage, metrics(statistics, effects))
    write_page(page(statistics, effects, config, metric), stage.page_path)
    log.info("calibrate: %d batches (%d samples) ran, %d layers", statistics.batches_run, statistics.samples_run, len(statistics.layers))


if __name__ == "__main__":
    stage_main("calibrate", main, __doc__)
