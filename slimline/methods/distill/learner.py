"""A variant in the form in which it learns and stays what it is: pruned weights zero, quantized ones rounded as their plan says.

Static int8 layers learn as those of qat do (fake_quant.py). All other planned layers are rounded in every step, with the gradient of the
identity (Bengio et al. 2013, arXiv 1308.3432); LSTM and GRU layers are rounded and frozen.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from slimline.data.batch import Batch
from slimline.errors import Impossible
from slimline.methods.layer_calls import on_input
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import Kind, Plan, layers_of_kind, tables_of_kind, weighted_of_kind
from slimline.methods.quantize.qat import converted, learned_plan, prepared
from slimline.methods.quantize.simulate import rounded_input
from slimline.methods.quantize.weights import Grid, rounded_weight, stored_grid
from slimline.methods.shared_weights import shared_weights
from slimline.training.masks import ORIGINAL, zero_masks

ROUNDED: tuple[Kind, ...] = ("dynamic", "weights", "half")
"""How layers run that are rounded by the identity's gradient."""


class Masked(nn.Module):
    """The parametrization of a pruned weight: zero where `mask` is False."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, its zeros kept."""
        return weight * self.mask

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Itself."""
        return weight

    def clipped(self, trained: Tensor) -> Tensor:
        """The weight to save."""
        return (trained * self.mask).detach()


class Rounded(nn.Module):
    """The parametrization of a planned weight: rounded as its entry says, with the gradient of the identity."""

    scale: Tensor | None
    zero_point: Tensor | None

    def __init__(self, entry: Mapping[str, Any], grid: Grid | None) -> None:
        super().__init__()
        self.entry = dict(entry)
        for name, value in zip(("scale", "zero_point"), grid or (None, None), strict=True):
            self.register_buffer(name, value, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """What the variant computes with."""
        grid = None if self.scale is None else (self.scale, self.zero_point)
        return weight + (rounded_weight(weight.detach(), self.entry, grid) - weight.detach())

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Itself."""
        return weight

    def clipped(self, trained: Tensor) -> Tensor:
        """The weight to save: rounding it by its entry gives what `forward` gives."""
        return trained.detach()


@dataclass(frozen=True)
class Learner:
    """`model` is what learns; `plain` has the layers that are stored, `plan` and `grids` say how they round, `masks` what stays zero."""

    model: nn.Module
    plain: nn.Module
    plan: Plan | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def learned(self, trained: nn.Module) -> tuple[nn.Module, Plan | None]:
        """What is stored of `model` once it is trained: plain weights, and the plan with the ranges that were learned."""
        if self.plan is None:
            return _unmasked(trained, self.plain, self.masks) if self.masks else trained, None
        model = converted(trained, self.plain)
        for name, mask in self.masks.items():
            model.get_parameter(name).data.mul_(mask)
        return model, learned_plan(trained, self.plan)


def learner(model: nn.Module, plan: Plan | None, grids: Mapping[str, Tensor], example: Batch) -> Learner:
    """A variant, or what was cut out of one, as it learns: a copy where anything is kept. Batch norms before static int8 layers are folded.

    An untrained net is no such one: what it begins with at zero may learn.

    Raises:
        StageError: two layers share a weight that is rounded.
    """
    if plan is None:
        masks = zero_masks(model)
        return Learner(_masked(copy.deepcopy(model), masks) if masks else model, model, masks=masks)
    plain = fold_batchnorm(model, example) if weighted_of_kind(plan, "static") else copy.deepcopy(model).eval()
    _refuse_shared(plain, plan)
    twin = prepared(plain, plan, example, learned=True)
    for name in (*weighted_of_kind(plan, *ROUNDED), *tables_of_kind(plan, *ROUNDED)):
        entry, layer = plan["layers"][name], twin.get_submodule(name)
        parametrize.register_parametrization(layer, "weight", Rounded(entry, stored_grid(grids, name, entry)))
        if entry["activations"]:
            on_input(layer, partial(_round_input, entry["precision"]))
    masks = zero_masks(plain)
    return Learner(_masked(twin, masks), plain, plan, grids, masks)


def _masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    for name, mask in masks.items():
        parametrize.register_parametrization(model.get_submodule(name.removesuffix(".weight")), "weight", Masked(mask))
    return model


def _unmasked(trained: nn.Module, plain: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `plain` with the trained weights, its zeros kept."""
    model, state = copy.deepcopy(plain).eval(), trained.state_dict()
    masked = {name: state[f"{name.removesuffix('.weight')}.{ORIGINAL}"] * mask for name, mask in masks.items()}
    model.load_state_dict({name: masked[name] if name in masked else state[name] for name in model.state_dict()}, strict=True)
    return model


def _round_input(precision: str, _layer: nn.Module, x: Tensor) -> Tensor:
    return x + (rounded_input(precision, None, x.detach()) - x.detach())


def _refuse_shared(model: nn.Module, plan: Plan) -> None:
    rounded = {f"{name}.weight" for name in layers_of_kind(plan, "static", *ROUNDED)}
    shared = shared_weights(model)
    if tied := [name for name in shared if name in rounded]:
        name = tied[-1]
        raise Impossible(f"distill: student: {name!r} is one weight with {shared[name]!r} and cannot learn rounded; put both in keep_float")
