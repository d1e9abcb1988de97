"""Stage `teacher`: train the uncompressed model, or fetch it as safetensors and check its sha256.

in      data/prepared/{train,validation}.parquet
out     data/models/teacher
params  workload, seed, teacher, gate.metric
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from slimline.workloads.prepared import load_split
from slimline.workloads.score import metric_of
from torch import nn

from slimline.artifact.fetch import fetch_weights
from slimline.artifact.folder import folder_bytes
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.plain_weights import make_plain_
from slimline.artifact.variant import save_variant
from slimline.artifact.weights import load_weights, read_fitting
from slimline.calibration.look import look
from slimline.data.samples import Samples
from slimline.errors import ArtifactError, Diverged, WorkloadError
from slimline.measure.compute import Compute, count
from slimline.params import TEACHER, GateParams, TeacherParams
from slimline.report.figures import line_figure
from slimline.report.numbers import percent
from slimline.report.page import Figure, StagePage, Table, write_page
from slimline.stage import Stage, fix_randomness, stage_main, write_metrics
from slimline.training.fit import Epoch, FitHistory, fit, predict, require_learned
from slimline.verdict.chance import Chance, chance
from slimline.verdict.difference import Resampling
from slimline.workloads import Workload

log = logging.getLogger(__name__)
MODEL = Path("data/models") / TEACHER
WITHOUT_EXPORT = ("eager", "torchscript")
"""Targets that take a net as it is or trace it."""
RESAMPLES = 400


def run(
    workload: Workload, config: TeacherParams, train: Samples, validation: Samples, *, metric: str, seed: int
) -> tuple[nn.Module, FitHistory]:
    """The teacher in evaluation mode, and its training history (empty for a fetched one)."""
    if config.source != "train":
        return _fetched(workload, config), FitHistory()
    fix_randomness(seed, threads=config.threads)
    untrained = workload.build_teacher()
    if wrong := not_finite(untrained, validation):
        raise WorkloadError(
            f"workload {workload.name!r}: the untrained net of build_teacher() gives outputs that are no finite numbers for {wrong} of "
            f"{len(validation)} validation samples, so it cannot be trained; mend its initial weights or its forward"
        )
    model, history = fit(
        untrained,
        train,
        config,
        loss=lambda outputs, targets, _inputs: workload.loss(outputs, targets),
        metric=metric_of(workload, metric),
        validation=validation,
        augment=workload.augment,
        seed=seed,
        on_epoch=_announce,
    )
    require_learned(history, config)
    return model, history


def not_finite(model: nn.Module, samples: Samples) -> int:
    """For how many samples the outputs are not all finite."""
    return int((~predict(model, samples.inputs).isfinite()).flatten(1).any(1).sum())


def compared_with_chance(workload: Workload, config: TeacherParams, model: nn.Module, validation: Samples, gate: GateParams) -> Chance:
    """How the teacher compares with always giving the commonest class, on the gate's metric.

    Raises:
        Diverged, or ArtifactError for a fetched one: it is no better than that, or gives outputs that are not finite; every variant would
            be held against a model that has learned nothing.
    """
    refused = Diverged if config.source == "train" else ArtifactError
    who = "training: the teacher" if config.source == "train" else f"params.yaml: teacher.source: {config.source}"
    if wrong := not_finite(model, validation):
        raise refused(f"{who} gives outputs that are no finite numbers for {wrong} of {len(validation)} validation samples")
    outputs, targets = predict(model, validation.inputs).numpy(), validation.targets.numpy()
    found = chance(outputs, targets, gate.metric, workload.metrics, Resampling(RESAMPLES, gate.confidence, 0))
    if not found.is_beaten:
        ways = "change epochs or learning_rate, or look at inputs() and the labels" if config.source == "train" else "give a trained one"
        raise refused(
            f"{who} has {gate.metric} {percent(found.value)} on {len(validation)} validation samples, no better than chance: always "
            f"{workload.labels[found.answer]!r} has {percent(found.constant)} (the difference lies in {percent(found.gain[0])} to "
            f"{percent(found.gain[1])}); {ways}"
        )
    return found


def _fetched(workload: Workload, config: TeacherParams) -> nn.Module:
    model = workload.build_teacher()
    with TemporaryDirectory(prefix="slimline-teacher-") as folder:
        path = fetch_weights(config.source, config.sha256 or "", Path(folder))
        try:
            load_weights(model, read_fitting(model, path), path)
        except ArtifactError as error:
            raise ArtifactError(f"params.yaml: teacher.source: {config.source}: {str(error).removeprefix(f'{path}: ')}") from None
    if broken := [name for name, value in model.state_dict().items() if not value.isfinite().all()]:
        raise ArtifactError(f"params.yaml: teacher.source: {config.source}: {broken[0]} holds NaN or infinity; export the model again")
    return model.eval()


def require_followed(workload: Workload, validation: Samples, *, exports: bool) -> None:
    """One look at the untrained net before any training.

    Raises:
        WorkloadError: all that stands in the way of compressing it.
    """
    if problems := look(workload.build_teacher(), workload.build_teacher(), validation.inputs, exports=exports):
        raise WorkloadError("\n".join(f"workload {workload.name!r}: the net of build_teacher(): {problem}" for problem in problems))


def _announce(epoch: Epoch) -> None:
    log.info("teacher: epoch %d, loss %.4f, validation %.4f", epoch.number, epoch.loss, epoch.metric)


def unshown(found: Chance, labels: Sequence[str]) -> tuple[str, ...]:
    """A warning where validation is too small, or one class too common, to show that the teacher is better than one constant answer."""
    if found.is_shown:
        return ()
    return (
        f"Its {found.metric} of {percent(found.value)} is not shown to be better than always giving {labels[found.answer]!r}, "
        f"{percent(found.constant)}: validation has too few samples of the other classes. Its answers do depend on the inputs.",
    )


def page(
    config: TeacherParams,
    quality: dict[str, float],
    compute: Compute,
    size_bytes: int,
    history: FitHistory,
    folded: tuple[str, ...],
    notes: tuple[str, ...],
) -> StagePage:
    """The baseline that every other page compares with."""
    measured = Table("Measured", ("validation figure", "value"), tuple((name, percent(value)) for name, value in quality.items()))
    counted = Table(
        "Size and compute", ("figure", "value"), (("parameters", compute.parameters), ("MACs", compute.macs), ("bytes", size_bytes))
    )
    figures: tuple[Figure, ...] = ()
    if history.epochs:
        series = {"validation": [(epoch.number, epoch.metric) for epoch in history.epochs]}
        figures = (Figure("Training", line_figure(series, x_label="epoch", y_label="validation metric")),)
        how = f"Trained here for {len(history.epochs)} epochs; the weights of epoch {history.best_epoch} are kept, chosen on validation."
    else:
        how = f"Fetched from {config.source}; its sha256 {config.sha256} was checked."
    plain = (f"Folded into plain weights, which is what is compressed: {', '.join(folded)}.",) if folded else ()
    summary = (how, *plain, "It is the baseline: every variant is compared with it.")
    return StagePage("teacher", TEACHER, "The teacher", summary, comparison=(), tables=(measured, counted), figures=figures, notes=notes)


def main(stage: Stage) -> None:
    """Train or fetch, save, write the page."""
    params, workload = stage.params, stage.workload
    validation = load_split(workload, "validation")
    require_followed(workload, validation, exports=bool(set(params.deploy.targets) - set(WITHOUT_EXPORT)))
    model, history = run(workload, params.teacher, load_split(workload, "train"), validation, metric=params.gate.metric, seed=params.seed)
    folded = make_plain_(model)
    config = params.teacher.model_dump(mode="json")
    manifest = Manifest(
        workload=workload.name,
        variant=TEACHER,
        stage="teacher",
        method="train" if params.teacher.source == "train" else "fetch",
        config=config,
        source=None,
        lineage=(TEACHER,),
        architecture=Architecture(),
        structure={},
        seed=params.seed,
    )
    found = compared_with_chance(workload, params.teacher, model, validation, params.gate)
    save_variant(MODEL, model, manifest, workload)
    quality = workload.metrics(predict(model, validation.inputs).numpy(), validation.targets.numpy())
    compute, size_bytes = count(model, workload.example_input()), folder_bytes(MODEL)
    facts = {"parameters": compute.parameters, "nonzero": compute.nonzero, "macs": compute.macs, "size_bytes": size_bytes}
    training = {"epochs": len(history.epochs), "best_epoch": history.best_epoch}
    write_metrics(
        stage, {"stage": "teacher", "variant": TEACHER, "method": manifest.method, "validation": quality, "training": training, **facts}
    )
    notes = unshown(found, workload.labels)
    write_page(page(params.teacher, quality, compute, size_bytes, history, folded, notes), stage.page_path)
    log.info("teacher: %s on validation, %s parameters", ", ".join(f"{k} {v:.4f}" for k, v in quality.items()), f"{compute.parameters:,}")


if __name__ == "__main__":
    stage_main("teacher", main, __doc__)
