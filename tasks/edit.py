"""What the stages `prune` and `factorize` share: hand the source to the method, hold the result to what it declares, train it, save it."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import nn

from slimline.artifact.fitted import build_architecture
from slimline.artifact.json_file import read_json
from slimline.artifact.structure import replay
from slimline.calibration.sensitivity import plain, sensitivity
from slimline.calibration.statistics import CalibrationStatistics
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.quantize.on_grid import roundings
from slimline.methods.recalibrate import recalibrated_over
from slimline.params import TEACHER, EditParams
from slimline.report.figures import line_figure
from slimline.report.page import Figure, Table
from slimline.stage import Stage
from slimline.training.device import device_of
from slimline.training.lora import trained_parameters
from tasks.latency import latency_beside
from tasks.method_data import method_data
from tasks.outcome import Origin, Outcome
from tasks.variant import CALIBRATION, load_origin, recover, require_shrunk, save_outcome
from tasks.variant_page import layer_table

log = logging.getLogger(__name__)


def run(stage: str, model: nn.Module, config: EditParams, data: MethodData) -> Edited:
    """What the method makes of a model, batch norm measured anew unless the method trained it; at strength 0 a copy."""
    made: Edited = get_method(stage, config.method)(model, config, data=data)
    if config.idle or made.history.epochs:
        return made
    return dataclasses.replace(made, model=recalibrated_over(made.model, data.train))


def main(stage: Stage) -> None:
    """Read the source, edit it, check that it shrank, train it with mask and shape kept, save."""
    origin, config = load_origin(stage), stage.config
    data = edit_data(stage, origin)
    made = _made(stage, origin, data)
    rounding = roundings(made.model, config.recover)
    model, history = recover(made.model, origin.source.model, config.recover, data, rounding)
    trained = {"recovered_parameters": trained_parameters(made.model, config.recover)} if history.epochs else {}
    outcome = Outcome(
        model,
        (config.asked, *_trained(config, made, len(history.epochs)), *_updated(config, trained)),
        history if history.epochs else made.history,
        details={**made.details, **trained},
        tables=(*(Table(**vars(listing)) for listing in made.listings), layer_table(origin.source.model, model)),
        figures=_figures(made),
        notes=made.notes,
    )
    save_outcome(stage, origin, outcome)


def _made(stage: Stage, origin: Origin, data: MethodData) -> Edited:
    """What the method makes of the source, held to what it declares."""
    made = run(stage.name, origin.source.model, stage.config, data)
    if not stage.config.idle:
        require_shrunk(stage, origin.example, origin.source.model, made.model)
    return made


def edit_data(stage: Stage, origin: Origin) -> MethodData:
    """What the methods of these stages may read and measure."""
    data = method_data(stage, origin)
    return dataclasses.replace(
        data,
        sensitivity=_sensitivity(stage, origin, data),
        initial=lambda: untrained(stage, origin),
        latency_ms=latency_beside(origin.source.model, data.example),
    )


def untrained(stage: Stage, origin: Origin) -> nn.Module:
    """The source's architecture with the weights that the seed gives it: for the teacher, those that its training began with."""
    manifest = origin.source.manifest
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.params.seed)
        return replay(build_architecture(stage.workload, manifest.architecture), manifest.structure)


def _sensitivity(stage: Stage, origin: Origin, data: MethodData) -> Callable[[str], Mapping[str, float]]:
    """The stage calibrate measured the teacher; another source is measured here, when a method asks."""

    def measured(kind: str) -> Mapping[str, float]:
        if stage.config.source == TEACHER:
            layers = read_json(CALIBRATION / "sensitivity.json")["layers"]
        else:
            model = origin.source.model
            statistics = data.collect(model)
            effects = sensitivity(
                model,
                cast(CalibrationStatistics, statistics),
                calibration=data.calibration,
                validation=data.validation,
                objective=data.objective,
                metric=data.metric,
                device=device_of(stage.params.calibrate.device),
            )
            layers = plain(effects)
        return {name: effects[kind]["output_change"] for name, effects in layers.items() if effects[kind] is not None}

    return measured


def _trained(config: EditParams, made: Edited, epochs: int) -> tuple[str, ...]:
    if config.idle:
        return ("Strength 0: nothing was changed.",)
    within = f"{len(made.history.epochs)} epochs of training within the method." if made.history.epochs else "Batch norm recalibrated."
    after = f"Then {epochs} epochs of recovery training that kept every zero and shape." if epochs else "No recovery training."
    return within, after


def _updated(config: EditParams, trained: Mapping[str, int]) -> tuple[str, ...]:
    if config.recover.lora_rank is None or not trained:
        return ()
    grid = f", and lie on {config.recover.lora_grid} grids with them" if config.recover.lora_grid else ""
    return (f"It trained updates of rank {config.recover.lora_rank}, {trained['recovered_parameters']:,} parameters, now merged{grid}.",)


def _figures(made: Edited) -> tuple[Figure, ...]:
    return tuple(
        Figure(curve.title, line_figure(curve.series, x_label=curve.x_label, y_label=curve.y_label, log_x=curve.log_x), curve.note)
        for curve in made.curves
    )
