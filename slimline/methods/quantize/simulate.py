"""What a plan does to a model, shown in float32: fake quantization of weights and of layer inputs."""

import copy
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch
from slimline.data.padding import there_of, without_padding
from slimline.methods.layer_calls import on_input
from slimline.methods.quantize.plan import FLOAT, RECURRENT_TYPES, Plan
from slimline.methods.quantize.recurrent import HIDDEN_RANGE, rounded_recurrent
from slimline.methods.quantize.token_ranges import TokenRange, token_range
from slimline.methods.quantize.weights import SIXTEEN_BIT, rounded_weight, stored_grid


def simulate(model: nn.Module, plan: Plan, grids: Mapping[str, Tensor] = NO_GRIDS) -> nn.Module:
    """A copy of `model` in evaluation mode whose planned layers round their weights and inputs as the plan says.

    Integer weights are rounded to their grid (see weights.py; `grids` holds those that are stored); inputs to 256 levels,
    over the planned range (static), over that of each batch (dynamic) or of each token (token_ranges.py). 16-bit layers round
    both to the type. Everything is computed in float32. LSTM and GRU layers round their input and, at every step, their hidden
    state (see recurrent.py).
    Jacob et al. 2018, arXiv:1712.05877.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    for name, entry in plan["layers"].items():
        layer: Any = twin.get_submodule(name)
        if entry["precision"] == FLOAT:
            continue
        if isinstance(layer, RECURRENT_TYPES):
            first, deeper = (functools.partial(rounded_input, entry["precision"], ends) for ends in _recurrent_ranges(entry))
            twin.set_submodule(name, rounded_recurrent(layer, entry, first=first, deeper=deeper), strict=True)
            continue
        layer.weight.data = rounded_weight(layer.weight.data, entry, stored_grid(grids, name, entry))
        if (by_token := token_range(grids, name)) is not None:
            on_input(layer, functools.partial(_round_tokens, by_token))
        elif entry["activations"]:
            on_input(layer, functools.partial(_round_input, entry["precision"], entry["input_range"]))
    return twin


def fake_quantize(x: Tensor, low: float, high: float) -> Tensor:
    """Round a tensor to the 256 levels from low to high (low <= 0 <= high), values beyond them clipped."""
    scale = (high - low) / 255
    zero_point = min(max(round(-low / scale), 0), 255)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def rounded_input(precision: str, chosen: list[float] | None, x: Tensor) -> Tensor:
    """A layer's input in a precision: over the levels of a chosen range, or of its own where none was chosen."""
    if precision in SIXTEEN_BIT:
        return x.to(getattr(torch, precision)).float()
    low, high = chosen or (min(float(x.min()), 0.0), max(float(x.max()), 0.0))
    return fake_quantize(x, low, high) if high > low else x


def sqnr_db(signal: Tensor, approximation: Tensor) -> float:
    """Signal to quantization noise ratio in dB: 10 log10 of the signal's power over that of the difference, at most 200."""
    noise = float((signal.double() - approximation.double()).square().sum())
    power = max(float(signal.double().square().sum()), 1e-20)
    return 200.0 if noise <= power * 1e-20 else float(10 * torch.log10(torch.tensor(power / noise, dtype=torch.float64)))


def layer_sqnr(source: nn.Module, twin: nn.Module, layers: Iterable[str], inputs: Batch) -> dict[str, float]:
    """Each layer's own SQNR in dB: its output on the float model's inputs, in `source` and in the simulation `twin`."""
    reference = copy.deepcopy(source).eval()
    found, there = dict[str, float](), there_of(inputs)

    def compare(name: str, layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        both = _tensor(output), _tensor(twin.get_submodule(name)(*arguments, **named))
        found[name] = sqnr_db(*(without_padding(one, there) if isinstance(layer, nn.Linear) else one for one in both))

    for name in layers:
        reference.get_submodule(name).register_forward_hook(functools.partial(compare, name), with_kwargs=True)
    with torch.no_grad():
        reference(**inputs)
    return {name: found[name] for name in layers if name in found}


def _round_input(precision: str, chosen: list[float] | None, _: nn.Module, x: Tensor) -> Tensor:
    return rounded_input(precision, chosen, x)


def _round_tokens(chosen: TokenRange, _: nn.Module, x: Tensor) -> Tensor:
    return chosen.rounded(x)


def _recurrent_ranges(entry: Mapping[str, Any]) -> tuple[list[float] | None, list[float] | None]:
    """What the first layer's inputs and hidden states are rounded over, and those of deeper ones; None is each tensor's own range."""
    return entry["input_range"], None if entry["input_range"] is None else list(HIDDEN_RANGE)


def _tensor(output: Any) -> Tensor:
    """A layer's output; a recurrent layer gives its last state beside it."""
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result
