"""Stage `teacher`: train the uncompressed model, or fetch it as safetensors and check its sha256.

in      data/prepared/{train,validation}.parquet
out     data/models/teacher
params  workload, seed, teacher, gate.metric
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from slimline.artifact.fetch import fetch_weights
from slimline.artifact.folder import folder_bytes
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import save_variant
from slimline.artifact.weights import load_weights, read_fitting
from slimline.errors import ArtifactError
from slimline.measure.compute import Compute, count
from slimline.methods.fit import Epoch, FitHistory, Samples, fit, predict
from slimline.params import TEACHER, TeacherParams
from slimline.report.figures import line_figure
from slimline.report.numbers import percent
from slimline.report.page import Figure, StagePage, Table, write_page
from slimline.stage import Stage, fix_randomness, stage_main, write_metrics
from slimline.workloads import Workload
from slimline.workloads.prepared import load_split
from slimline.workloads.score import metric_of

log = logging.getLogger(__name__)
MODEL = Path("data/models") / TEACHER


def run(
    workload: Workload, config: TeacherParams, train: Samples, validation: Samples, *, metric: str, seed: int
) -> tuple[nn.Module, FitHistory]:
    """The teacher in evaluation mode, and its training history (empty for a fetched one)."""
    if config.source != "train":
        return _fetched(workload, config), FitHistory()
    fix_randomness(seed, threads=config.threads)
    return fit(
        workload.build_teacher(),
        train,
        config,
        loss=lambda outputs, targets, _inputs: workload.loss(outputs, targets),
        metric=metric_of(workload, metric),
        validation=validation,
        augment=workload.augment,
        seed=seed,
        on_epoch=_announce,
    )


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


def _announce(epoch: Epoch) -> None:
    log.info("teacher: epoch %d, loss %.4f, validation %.4f", epoch.number, epoch.loss, epoch.metric)


def page(config: TeacherParams, quality: dict[str, float], compute: Compute, size_bytes: int, history: FitHistory) -> StagePage:
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
    summary = (how, "It is the baseline: every variant is compared with it.")
    return StagePage("teacher", TEACHER, "The teacher", summary, comparison=(), tables=(measured, counted), figures=figures)


def main(stage: Stage) -> None:
    """Train or fetch, save, write the page."""
    params, workload = stage.params, stage.workload
    validation = load_split(workload, "validation")
    model, history = run(workload, params.teacher, load_split(workload, "train"), validation, metric=params.gate.metric, seed=params.seed)
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
    save_variant(MODEL, model, manifest, workload)
    quality = workload.metrics(predict(model, validation.inputs).numpy(), validation.targets.numpy())
    compute, size_bytes = count(model, workload.example_input()), folder_bytes(MODEL)
    facts = {"parameters": compute.parameters, "nonzero": compute.nonzero, "macs": compute.macs, "size_bytes": size_bytes}
    training = {"epochs": len(history.epochs), "best_epoch": history.best_epoch}
    write_metrics(
        stage, {"stage": "teacher", "variant": TEACHER, "method": manifest.method, "validation": quality, "training": training, **facts}
    )
    write_page(page(params.teacher, quality, compute, size_bytes, history), stage.page_path)
    log.info("teacher: %s on validation, %s parameters", ", ".join(f"{k} {v:.4f}" for k, v in quality.items()), f"{compute.parameters:,}")


if __name__ == "__main__":
    stage_main("teacher", main, __doc__)
