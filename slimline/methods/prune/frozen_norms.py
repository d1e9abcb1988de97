"""Norms across channels held still, so that a trial can tell the loss of channels from the norm's own answer to it.

A layer norm or group norm divides by what all its channels have, so that the rest moves when some go. For a trial each is replaced by a
fixed factor a call, found on the whole model; its weights stay.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch
from slimline.methods.layer_calls import run_hooked
from slimline.methods.prune.channel_layers import channel_dim

ACROSS_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
Factors = dict[str, list[float]]
"""A norm's name -> what each of its calls multiplies by."""


def norm_factors(model: nn.Module, names: Iterable[str], inputs: Batch) -> Factors:
    """One over the standard deviation that each norm of these names finds in a run of `model`, call by call."""
    factors: Factors = {}
    handles = []
    for name in names:
        if isinstance(norm := model.get_submodule(name), ACROSS_CHANNELS):
            calls = factors[name] = []
            handles.append(norm.register_forward_hook(_noting(calls), with_kwargs=True))
    run_hooked(model, inputs, handles)
    return factors


def hold_still_(model: nn.Module, factors: Factors) -> None:
    """Let each of these norms in `model` itself multiply by its factors, one a call, for one run."""
    for name, calls in factors.items():
        model.get_submodule(name).register_forward_hook(_held(iter(calls)), with_kwargs=True)


def _noting(calls: list[float]) -> Any:
    def hook(_norm: nn.Module, given: tuple[Tensor, ...], options: dict[str, Tensor], _made: Tensor) -> None:
        values = next(iter((*given, *options.values())))
        calls.append(float(1 / values.std().clamp_min(1e-6)))

    return hook


def _held(factors: Iterator[float]) -> Any:
    def hook(norm: Any, given: tuple[Tensor, ...], options: dict[str, Tensor], _made: Tensor) -> Tensor:
        values = next(iter((*given, *options.values()))) * next(factors)
        shape = [-1, *[1] * (-1 - channel_dim(norm, values))]
        for name, change in (("weight", torch.mul), ("bias", torch.add)):
            if isinstance(tensor := getattr(norm, name, None), Tensor):
                values = change(values, tensor.view(shape))
        return values

    return hook
