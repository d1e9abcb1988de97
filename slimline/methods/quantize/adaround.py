"""AdaRound: each weight rounded up or down, as its layer's output on the calibration sample wants it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from slimline.errors import Diverged
from slimline.methods.data import MethodData
from slimline.methods.quantize.layerwise import mend_layers
from slimline.methods.quantize.plan import Layer, weighted_layers, weighted_of_kind
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import calibrated, required, with_corrected_biases
from slimline.methods.quantize.weights import LARGEST_LEVEL, derived_grid
from slimline.params import AdaroundParams
from slimline.training.records import Records

STRETCHED = (-0.1, 1.1)
FREE = 0.2
SHARPEST, SOFTEST = 2.0, 20.0
HALF, FULL = 0.5, 1e-3


def adaround(model: nn.Module, config: AdaroundParams, *, statistics: Records, data: MethodData | None = None) -> Quantized:
    """Static int8 whose weights lie on their grid, each at the level above or below it that a short training chose.

    Layer by layer, in the order in which they run: the layer reads what the rounded layers before it give, with its inputs
    quantized as planned, and its output is to be that of the float model. A layer for which the nearest levels serve the
    sample as well keeps them, and so does one that runs more than once. Nagel et al. 2020, arXiv:2004.10568.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: torch.export cannot follow the model, where batch norms are to be folded.
        Diverged: the training of a layer's rounding ran into NaN or infinity.
    """
    start, sample = calibrated(model, config, statistics=statistics, data=data), required(data)
    if config.iterations > 0:
        _round_(start, config, sample)
    return with_corrected_biases(start, config, data=sample)


def _round_(start: Quantized, config: AdaroundParams, data: MethodData) -> None:
    """Put the weights of the fresh `start` on their grid, in place."""
    generator = torch.Generator().manual_seed(data.seed)
    twin, names = simulate(start.model, start.plan), weighted_of_kind(start.plan, "static")
    rounded = weighted_layers(start.model)

    def mend(name: str, x: Tensor, nearest: Tensor, wanted: Tensor) -> Tensor:
        layer, error = rounded[name], float((nearest - wanted).square().mean())
        weight = chosen_weight(layer, start.plan["layers"][name], Target(x, wanted, error), config, generator)
        output: Tensor = functional_call(layer, {"weight": weight}, (x,))
        if (output - wanted).square().mean() >= error:
            weight, output = cast("Layer", twin.get_submodule(name)).weight.detach().clone(), nearest
        layer.weight.data = weight
        return output

    reference = start.model if start.reference is None else start.reference
    mend_layers(reference, twin, names, data.calibration, summary=lambda _, output: output.clone(), mend=mend)


@dataclass(frozen=True)
class Target:
    """A layer's inputs [N, …], the outputs that they are to give, and the mean squared error of the nearest levels' outputs."""

    inputs: Tensor
    outputs: Tensor
    nearest_error: float


def chosen_weight(layer: Layer, entry: Mapping[str, Any], target: Target, config: AdaroundParams, generator: torch.Generator) -> Tensor:
    """The layer's weight on its derived grid, each value rounded down or up so that its outputs are nearest to the wanted ones.

    Trained is h in [0, 1] a weight, 0 being the level below and 1 the one above: h = clip(1.2 sigmoid(v) - 0.1). The loss is
    the squared error, as a share of that of the nearest levels, and regularisation * mean(1 - |2h - 1|^beta), beta falling
    from 20 to 2. Zeros (pruned weights) are kept, and so is the largest magnitude, which tells the grid.
    """
    weight = layer.weight.detach()
    scale = derived_grid(weight, entry)[0].view(-1, *[1] * (weight.dim() - 1))
    levels = weight / scale
    below = levels.floor()
    fixed = (weight == 0) | (levels.abs() > LARGEST_LEVEL[entry["precision"]] - FULL)

    def at(h: Tensor) -> Tensor:
        return torch.where(fixed, levels.round(), below + h) * scale

    if target.nearest_error == 0 or bool(fixed.all()):
        return at((levels - below).round())
    with torch.enable_grad():
        v = _start(levels - below).requires_grad_()
        optimizer = torch.optim.Adam([v], lr=config.learning_rate)
        for step in range(config.iterations):
            batch = torch.randint(len(target.inputs), (config.batch_size,), generator=generator)
            h = _share(v)
            outputs = functional_call(layer, {"weight": at(h)}, (target.inputs[batch],))
            error = (outputs - target.outputs[batch]).square().mean() / target.nearest_error
            loss = error + config.regularisation * _undecided(h, step / config.iterations)
            if not bool(loss.isfinite()):
                raise Diverged(f"quantize: adaround: the loss is {loss.item()} in step {step + 1}; lower learning_rate")
            (v.grad,) = torch.autograd.grad(loss, [v])
            optimizer.step()
    return at((_share(v.detach()) >= HALF).float())


def _share(v: Tensor) -> Tensor:
    """The rectified sigmoid: h in [0, 1], which a finite v reaches."""
    return (v.sigmoid() * (STRETCHED[1] - STRETCHED[0]) + STRETCHED[0]).clamp(0, 1)


def _start(share: Tensor) -> Tensor:
    """The v that gives a share: at first no weight is moved."""
    return torch.logit((share - STRETCHED[0]) / (STRETCHED[1] - STRETCHED[0]))


def _undecided(share: Tensor, progress: float) -> Tensor | float:
    """How far the shares are from 0 and 1, ever more strictly; nothing in the first fifth of the steps."""
    if progress < FREE:
        return 0.0
    beta = SHARPEST + (SOFTEST - SHARPEST) * 0.5 * (1 + math.cos(math.pi * (progress - FREE) / (1 - FREE)))
    return (1 - (2 * share - 1).abs().pow(beta)).mean()
