"""Stage `teacher`: train the uncompressed model, or fetch it as safetensors and check its sha256.

in      data/prepared/{train,validation}.arrow; data/look.json, the mark that all this can be followed
out     data/models/teacher
params  workload, seed, teacher, gate.metric
"""

import logging
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from slimline.artifact.fetch import fetch_weights
from slimline.artifact.folder import folder_bytes
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.plain_weights import make_plain_
from slimline.artifact.variant import save_variant
from slimline.artifact.weights import load_weights, read_fitting
from slimline.data.batch import flat, joined, tensors
from slimline.data.prepared import load_split
from slimline.data.samples import Split, head, in_order
from slimline.errors import ArtifactError, Diverged, WorkloadError
from slimline.measure.compute import Compute, count
from slimline.objectives import Objective, Scores, figures, joined_scores
from slimline.objectives.described import described
from slimline.params import TEACHER, TeacherParams
from slimline.report.figures import line_figure
from slimline.report.numbers import quantity
from slimline.report.page import Figure, StagePage, Table, write_page
from slimline.stage import Stage, fix_randomness, stage_main, write_metrics
from slimline.training.checkpoints import Checkpoints
from slimline.training.device import computed_on
from slimline.training.fit import HELD_BYTES, fit, held_together, predict, require_learned, scored
from slimline.training.history import FitHistory
from slimline.verdict.chance import Chance, chance
from slimline.verdict.difference import Resampling
from slimline.workloads.guarded import Guarded
from tasks.announced import announced
from tasks.checkpoints import CheckpointFiles
from tasks.signature import signature_from

log = logging.getLogger(__name__)
MODEL = Path("data/models") / TEACHER
RESAMPLES = 400


def run(
    workload: Guarded,
    config: TeacherParams,
    train: Split,
    validation: Split,
    *,
    metric: str,
    seed: int,
    checkpoints: Checkpoints | None = None,
) -> tuple[nn.Module, FitHistory, tuple[str, ...]]:
    """The teacher in evaluation mode, its training history (empty for a fetched one), and what it began with, in sentences."""
    if config.source != "train":
        return _fetched(workload, config), FitHistory(), ()
    untrained, told = begun(workload, config, seed)
    if wrong := not_finite(untrained, validation):
        raise WorkloadError(
            f"workload {workload.name!r}: the untrained net of build_teacher() gives outputs that are no finite numbers for {wrong} of "
            f"{len(validation)} validation samples, so it cannot be trained; mend its initial weights or its forward"
        )
    model, history = fit(
        untrained,
        train,
        config,
        objective=workload.objective,
        metric=metric,
        validation=validation,
        augment=workload.augmentation,
        seed=seed,
        on_epoch=announced(TEACHER),
        checkpoints=checkpoints,
    )
    if not told:
        require_learned(history, config)
    return model, history, told


def begun(workload: Guarded, config: TeacherParams, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
    """The net as its training begins, and where its weights come from, in sentences."""
    fix_randomness(seed, threads=config.threads)
    net = workload.build_teacher()
    told = workload.start_from_(net)
    for sentence in told:
        log.info("teacher: %s", sentence)
    return net, told


def not_finite(model: nn.Module, samples: Split) -> int:
    """For how many samples the outputs are not all finite."""
    groups = in_order(samples, held_together(model, samples))
    return sum(int((~flat(predict(model, batch.inputs)).isfinite()).any(1).sum()) for batch in groups)


def compared_with_chance(
    workload: Guarded, config: TeacherParams, model: nn.Module, validation: Split, metric: str, confidence: float
) -> Chance | None:
    """How the teacher compares with what ignores its inputs, on the gate's metric; None where the objective knows no such answer.

    Raises:
        Diverged, or ArtifactError for a fetched one: it is no better than that, or gives outputs that are not finite; every variant would
            be held against a model that has learned nothing.
    """
    refused = Diverged if config.source == "train" else ArtifactError
    who = "training: the teacher" if config.source == "train" else f"params.yaml: teacher.source: {config.source}"
    if wrong := not_finite(model, validation):
        raise refused(f"{who} gives outputs that are no finite numbers for {wrong} of {len(validation)} validation samples")
    scores = scored_beside_constant(workload.objective, model, validation)
    if scores is None:
        return None
    found = chance(workload.objective, metric, *scores, Resampling(RESAMPLES, confidence, 0))
    if not found.is_beaten:
        ways = "change epochs or learning_rate, or look at inputs() and the labels" if config.source == "train" else "give a trained one"
        written = partial(quantity, unit=workload.objective.metrics[metric].unit)
        raise refused(
            f"{who} has {metric} {written(found.value)} on {len(scores[0]['error'])} validation samples, no better than chance: always "
            f"{found.answer or 'the same answer'!r} has {written(found.constant)} (the difference lies in {written(found.gain[0])} to "
            f"{written(found.gain[1])}); {ways}"
        )
    return found


def scored_beside_constant(objective: Objective, model: nn.Module, validation: Split) -> tuple[Scores, Scores] | None:
    """The scores of the model, and of the best answer that ignores its inputs; None where the objective knows none.

    Of outputs and targets as large as pictures, those of the first samples are compared that take no more than `HELD_BYTES`.
    """
    own, targets, outputs, held_bytes = [], [], [], 0
    for batch in in_order(validation, held_together(model, validation)):
        given = predict(model, batch.inputs)
        own.append(objective.scores(given, batch.targets))
        targets.append(batch.targets)
        outputs.append(given)
        held_bytes += sum(value.nbytes for part in (given, batch.targets) for value in tensors(part).values())
        if held_bytes > HELD_BYTES:
            break
    always = objective.constant(joined(targets), joined(outputs))
    return None if always is None else (joined_scores(own), objective.scores(always, joined(targets)))


def _fetched(workload: Guarded, config: TeacherParams) -> nn.Module:
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


def unshown(found: Chance | None, unit: str) -> tuple[str, ...]:
    """A warning where validation is too small, or one answer too common, to show that the teacher is better than one constant answer."""
    if found is None or found.is_shown:
        return ()
    return (
        f"Its {found.metric} of {quantity(found.value, unit)} is not shown to be better than always giving {found.answer!r}, "
        f"{quantity(found.constant, unit)}: validation has too few samples of the other answers. Its answers do depend on the inputs.",
    )


def page(
    config: TeacherParams,
    objective: Objective,
    quality: dict[str, float],
    compute: Compute,
    size_bytes: int,
    history: FitHistory,
    folded: tuple[str, ...],
    notes: tuple[str, ...],
) -> StagePage:
    """The baseline that every other page compares with."""
    measured = Table(
        "Measured",
        ("validation figure", "value"),
        tuple((name, quantity(value, objective.metrics[name].unit)) for name, value in quality.items()),
    )
    counted = Table(
        "Size and compute", ("figure", "value"), (("parameters", compute.parameters), ("MACs", compute.macs), ("bytes", size_bytes))
    )
    drawn: tuple[Figure, ...] = ()
    if history.epochs:
        series = {"validation": [(epoch.number, epoch.metric) for epoch in history.epochs]}
        drawn = (Figure("Training", line_figure(series, x_label="epoch", y_label="validation metric")),)
        how = f"Trained here for {len(history.epochs)} epochs; the weights of epoch {history.best_epoch} are kept, chosen on validation."
    elif config.source == "train":
        how = "Taken as it is, without training."
    else:
        how = f"Fetched from {config.source}; its sha256 {config.sha256} was checked."
    plain = (f"Folded into plain weights, which is what is compressed: {', '.join(folded)}.",) if folded else ()
    summary = (how, *plain, "It is the baseline: every variant is compared with it.")
    return StagePage("teacher", TEACHER, "The teacher", summary, comparison=(), tables=(measured, counted), figures=drawn, notes=notes)


def main(stage: Stage) -> None:
    """Train or fetch, save, write the page."""
    params, workload = stage.params, stage.workload
    validation, metric = load_split(workload.samples, "validation"), stage.metric
    train, signature = load_split(workload.samples, "train"), signature_from(workload.build_teacher(), validation)
    checkpoints = CheckpointFiles(stage)
    model, history, began = run(workload, params.teacher, train, validation, metric=metric, seed=params.seed, checkpoints=checkpoints)
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
        signature=signature,
        objective=described(workload.objective),
        computed_on=computed_on(params.teacher) if history.epochs else None,
    )
    found = compared_with_chance(workload, params.teacher, model, validation, metric, params.gate.confidence)
    save_variant(MODEL, model, manifest, workload)
    quality = figures(workload.objective, scored(model, validation, workload.objective))
    compute, size_bytes = count(model, head(validation, 2).inputs), folder_bytes(MODEL)
    facts = {"parameters": compute.parameters, "nonzero": compute.nonzero, "macs": compute.macs, "size_bytes": size_bytes}
    training = {"epochs": len(history.epochs), "best_epoch": history.best_epoch}
    write_metrics(
        stage, {"stage": "teacher", "variant": TEACHER, "method": manifest.method, "validation": quality, "training": training, **facts}
    )
    notes = (*began, *unshown(found, workload.objective.metrics[metric].unit))
    write_page(page(params.teacher, workload.objective, quality, compute, size_bytes, history, folded, notes), stage.page_path)
    checkpoints.clear()
    log.info("teacher: %s on validation, %s parameters", ", ".join(f"{k} {v:.4f}" for k, v in quality.items()), f"{compute.parameters:,}")


if __name__ == "__main__":
    stage_main("teacher", main, __doc__)
