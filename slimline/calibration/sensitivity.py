"""How much each layer minds being compressed: the drop in a validation metric when only that layer is changed.

Layers rank differently by method (Dong et al. 2019, "HAWQ", arXiv 1905.03696, for quantization), so each is tried alone.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from torch import nn

from slimline.calibration.statistics import RECURRENT_TYPES, CalibrationStatistics
from slimline.data.batch import Batch, Tensors, take
from slimline.data.samples import Samples, Split, head
from slimline.methods.factorize.chains import read_elsewhere
from slimline.methods.factorize.decomposition import Layer
from slimline.methods.factorize.svd import is_matrix, low_rank_pair
from slimline.methods.macs import macs
from slimline.methods.prune.weights import lowest
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.objectives import Metric, Objective, Scores, metric_of, worse_by
from slimline.params import TEACHER, StaticParams, SvdParams
from slimline.training.device import CPU, any_kernel, device_under
from slimline.training.fit import held_together, predict

PRUNED_FRACTION = 0.5
KINDS = 4
"""In so many ways every layer is changed."""
WORK = 2e13
"""Multiply-accumulates to spend on it: some minutes on two cores."""
KEPT_ENERGY = 0.9
SAMPLES = 512
"""Of validation, for each of some hundred edits of a net; a layer's standard error says what so few are worth."""
STATIC = StaticParams(source=TEACHER, method="static")
LOW_RANK = SvdParams(source=TEACHER, method="svd", energy=KEPT_ENERGY)
Edit = Callable[[str], nn.Module | None]
Net = TypeVar("Net", nn.Module, nn.Module | None)


@dataclass(frozen=True)
class Effect:
    """What one change did: the drop of the metric (above 0 is worse), and how far the outputs moved.

    `output_change` is the objective's distance from the outputs before; it tells layers apart where the metric does not move. `error` is
    the standard error of the mean rise of a sample's error, and with it about that of the drop: the two are one where the metric is the
    mean of what is right.
    """

    drop: float
    output_change: float
    error: float


@dataclass(frozen=True)
class _Judge:
    """Compares edited models on a few samples of validation."""

    samples: Samples
    objective: Objective
    metric: Metric
    device: torch.device

    def outputs_of(self, model: nn.Module) -> "_Judged":
        """What a model gives for them, and what that is worth."""
        outputs = predict(_on(model, self.device), self.samples.inputs)
        return _Judged(outputs, self.objective.scores(outputs, self.samples.targets))

    def effect(self, edited: nn.Module | None, before: "_Judged") -> Effect | None:
        """What an edit did to a model that gave `before`; None where there is none."""
        if edited is None:
            return None
        after = self.outputs_of(edited)
        drop = worse_by(self.metric, self.metric.figure(before.scores), self.metric.figure(after.scores))
        change = self.objective.distance(before.outputs, after.outputs)
        return Effect(float(drop), change, _standard_error(before.scores, after.scores))


@dataclass(frozen=True)
class _Judged:
    outputs: Tensors
    scores: Scores


def sensitivity(
    model: nn.Module,
    statistics: CalibrationStatistics,
    *,
    calibration: Batch,
    validation: Split,
    objective: Objective,
    metric: str,
    samples: int = SAMPLES,
    device: torch.device = CPU,
) -> dict[str, dict[str, Effect | None]]:
    """Module name -> {"quantize", "prune", "channels", "factorize"} -> effect, or None where the layer cannot be changed so.

    Quantized: int8 weights and inputs, simulated. Pruned: the least half of the weights zeroed. Channels: the half of its output
    channels whose weights have the least L2 norm zeroed, biases too. Factorized: two layers at energy 0.9, if that is smaller. After
    the last three, batch norm is recalibrated on `calibration`, in the edited model as in the one that it is compared with, so that only
    the layer makes the difference. `metric` is the objective's that drops, on the first `samples` of validation. Layers are changed on
    the CPU, and the nets are run on `device`. Of a large net fewer samples are taken, so that all takes at most WORK.
    """
    most = min(samples, affordable(model, len(statistics.layers), calibration))
    judge = _Judge(head(validation, held_together(model, validation, most)), objective, metric_of(objective, metric), device)
    recalibrated = _recalibrated(model, calibration, device)
    factorized = _factorized(model, statistics, calibration)
    edits: dict[str, tuple[nn.Module, Edit]] = {
        "quantize": (model, _quantized(model, statistics)),
        "prune": (recalibrated, lambda name: _recalibrated(_pruned(model, name), calibration, device)),
        "channels": (recalibrated, lambda name: _recalibrated(_without_channels(model, name), calibration, device)),
        "factorize": (recalibrated, lambda name: _recalibrated(factorized(name), calibration, device)),
    }
    with any_kernel(device):
        before = {reference: judge.outputs_of(reference) for reference in (model, recalibrated)}
        return {
            name: {kind: judge.effect(edit(name), before[reference]) for kind, (reference, edit) in edits.items()}
            for name in statistics.layers
        }


def affordable(model: nn.Module, layers: int, inputs: Batch) -> int:
    """On how many samples every layer can be changed in all four ways with at most WORK multiply-accumulates; at least 1."""
    return max(int(WORK / (KINDS * max(layers, 1) * max(macs(model, take(inputs, slice(0, 1))), 1))), 1)


def plain(effects: Mapping[str, Mapping[str, Effect | None]]) -> dict[str, dict[str, dict[str, float] | None]]:
    """The same as plain data, for JSON."""
    return {name: {kind: None if effect is None else vars(effect) for kind, effect in kinds.items()} for name, kinds in effects.items()}


def _standard_error(before: Scores, after: Scores) -> float:
    """Of the mean difference of the samples' errors; 0 of a single sample."""
    rises = np.asarray(after["error"], dtype=np.float64) - np.asarray(before["error"], dtype=np.float64)
    return float(rises.std(ddof=1) / np.sqrt(len(rises))) if len(rises) > 1 else 0.0


def _quantized(model: nn.Module, statistics: CalibrationStatistics) -> Edit:
    plan = static(model, STATIC, statistics=statistics).plan

    def edit(name: str) -> nn.Module | None:
        entry = plan["layers"][name]
        return None if entry["precision"] == "float32" else simulate(model, {**plan, "layers": {name: entry}})

    return edit


def _pruned(model: nn.Module, name: str) -> nn.Module | None:
    edited = copy.deepcopy(model)
    layer = cast("Layer", edited.get_submodule(name))
    if isinstance(layer, RECURRENT_TYPES):
        return None
    with torch.no_grad():
        layer.weight.masked_fill_(lowest(layer.weight.abs(), PRUNED_FRACTION), 0.0)
    return edited


def _without_channels(model: nn.Module, name: str) -> nn.Module | None:
    edited = copy.deepcopy(model)
    layer = cast("Layer", edited.get_submodule(name))
    if isinstance(layer, RECURRENT_TYPES) or len(layer.weight) == 1:
        return None
    with torch.no_grad():
        least = lowest(layer.weight.flatten(1).norm(dim=1), PRUNED_FRACTION)
        for values in (layer.weight, layer.bias):
            if values is not None:
                values[least] = 0.0
    return edited


def _factorized(model: nn.Module, statistics: CalibrationStatistics, calibration: Batch) -> Edit:
    whole = read_elsewhere(model, calibration)

    def edit(name: str) -> nn.Module | None:
        layer = model.get_submodule(name)
        if not name or not is_matrix(layer) or name in whole:
            return None
        pair = low_rank_pair(cast("Layer", layer), LOW_RANK, statistics.layers[name].second_moment)
        if pair is None:
            return None
        edited = copy.deepcopy(model)
        edited.set_submodule(name, pair, strict=True)
        return edited

    return edit


def _recalibrated(model: Net, inputs: Batch, device: torch.device) -> Net:
    return model if model is None else recalibrate_batchnorm(_on(model, device), inputs)


def _on(model: nn.Module, device: torch.device) -> nn.Module:
    """A model on a device: itself where it is there, else a copy."""
    return model if device == device_under(model) else copy.deepcopy(model).to(device)
