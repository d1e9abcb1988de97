"""Int8 products whose inputs have a range for each token, smoothed while running."""

import copy
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimline.data.batch import split
from slimline.data.padding import without_padding
from slimline.methods.blocks import evaluated_copy
from slimline.methods.data import MethodData
from slimline.methods.layer_calls import note_inputs
from slimline.methods.layers_in_order import layers_in_order
from slimline.methods.quantize.gptq import has_grid, rounded_with_compensation
from slimline.methods.quantize.plan import INT8_WEIGHTS, PROJECTED, Layer, Recurrent, entries_of, float_layer, layer_plan, make_plan
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.smoothing import smoothing_scale
from slimline.methods.quantize.tables import table_entries
from slimline.methods.quantize.token_ranges import UINT8_TOKENS, TokenRange, finest_zero_point, named_range
from slimline.methods.quantize.weights import derived_grid, stored_grid
from slimline.methods.shared_weights import shared_weights
from slimline.params.quantize import SmoothquantParams

LEAST_SCALE, LARGEST_SCALE = 1e-4, 1e4
"""So that scales are stored in float16, exactly."""
BATCH_SIZE = 8


def per_token(model: nn.Module, config: SmoothquantParams, *, data: MethodData) -> Quantized:
    """Plan int8 for every Linear layer: smoothed weights with a scale an output, inputs over the range of each token.

    Layers that read one tensor share its smoothing scale, which is applied while running, so that no norm has to take it. A layer that
    shares its weight (a tied head) is not smoothed, and ranged as the runtime's own kernels do; convolutions and recurrent layers have
    int8 weights alone. O1 of Xiao et al. 2022, arXiv:2211.10438; the zero point that is fixed, by calibration, is ours.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    changed = evaluated_copy(model)
    shared = {name.removesuffix(".weight") for name in shared_weights(model)}
    ranges, table = token_ranges(model, config.strength, data, shared), table_entries(config.embeddings)
    entries = entries_of(model, config.keep_float, data, lambda name, layer: _int8(layer, stored_grid=name in ranges), table)
    ranged = [name for name, entry in entries.items() if entry["stored_grid"]]
    grids: dict[str, Tensor] = {}
    for name in ranged:
        weight = _weight(model, name) * ranges[name].scale
        grids |= {f"{name}.scale": derived_grid(weight, entries[name])[0], **named_range(name, ranges[name])}
    fitted = _round_with_compensation_(changed, entries, grids, data) if config.compensate else 0
    scheme, dtype = {"weights": INT8_WEIGHTS, "activations": UINT8_TOKENS}, None if config.rest == "float32" else config.rest
    notes = (
        f"The inputs of {len(ranged)} layers are smoothed while running, each token over its own range.",
        f"Rounded with compensation: {fitted} layers.",
    )
    plan = make_plan("smoothquant", entries, scheme=scheme, dtype=dtype)
    return Quantized(changed, plan, reference=evaluated_copy(model), grids=grids, notes=notes)


def _round_with_compensation_(
    model: nn.Module, entries: Mapping[str, Mapping[str, Any]], grids: Mapping[str, Tensor], data: MethodData
) -> int:
    """Put the weights of layers with stored grids on them as gptq does, in place, where they are in blocks; how many there were."""
    fitted = 0
    for name, layer, gram in layers_in_order(model, data.calibration, lambda name, _: has_grid(entries.get(name))):
        grid = stored_grid(grids, name, entries[name])
        assert grid is not None
        layer.weight.data = rounded_with_compensation(layer.weight.detach(), entries[name], grid, gram.moment)
        fitted += 1
    return fitted


def token_ranges(model: nn.Module, strength: float, data: MethodData, left_out: Container[str] = ()) -> dict[str, TokenRange]:
    """How each Linear layer is to take its inputs, by the calibration sample, which is run twice.

    The scale of an input is max|x|^strength / max|w|^(1 - strength) in float16; layers that read one tensor share it and the zero point,
    so that it is rounded once, and max|w| is the largest of all.
    """
    largest, read_with = _largest_inputs(model, [name for name in _linear(model) if name not in left_out], data)
    scales: dict[str, Tensor] = {}
    for name, x in largest.items():
        scale = smoothing_scale(x, [_weight(model, other) for other in read_with[name]], strength)
        scales[name] = scale.clamp(LEAST_SCALE, LARGEST_SCALE).half().float()
    firsts = {name: read_with[name][0] for name in largest}
    points = _zero_points(model, {name: scales[name] for name in dict.fromkeys(firsts.values())}, data)
    return {name: TokenRange(scales[name], points[first]) for name, first in firsts.items()}


def _largest_inputs(model: nn.Module, layers: list[str], data: MethodData) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """By layer the largest magnitude of each of its inputs, and the layers that ever read the same tensor, both joined over these."""
    found: dict[str, Tensor] = {}
    groups: dict[str, list[str]] = {}
    seen: dict[int, tuple[Tensor, str]] = {}

    def note(name: str, x: Tensor, there: Tensor) -> None:
        here = without_padding(x, there).abs().flatten(0, -2).amax(dim=0)
        found[name] = torch.maximum(found.get(name, here), here)
        mine, theirs = groups.setdefault(name, [name]), groups[seen.setdefault(id(x), (x, name))[1]]
        if mine is not theirs:
            theirs += mine
            groups.update(dict.fromkeys(mine, theirs))

    _watch(model, layers, data, note, after=seen.clear)
    return {name: torch.stack([found[other] for other in groups[name]]).amax(dim=0) for name in found}, groups


def _zero_points(model: nn.Module, scales: dict[str, Tensor], data: MethodData) -> dict[str, int]:
    """Which level is to be zero, by layer."""
    lows: dict[str, list[Tensor]] = {name: [] for name in scales}
    highs: dict[str, list[Tensor]] = {name: [] for name in scales}

    def note(name: str, x: Tensor, there: Tensor) -> None:
        smooth = without_padding(x, there).flatten(0, -2) / scales[name]
        lows[name].append(smooth.amin(dim=-1))
        highs[name].append(smooth.amax(dim=-1))

    _watch(model, scales, data, note)
    return {name: finest_zero_point(torch.cat(lows[name]), torch.cat(highs[name])) for name in scales}


def _watch(
    model: nn.Module,
    layers: Iterable[str],
    data: MethodData,
    note: Callable[[str, Tensor, Tensor], None],
    after: Callable[[], None] = lambda: None,
) -> None:
    """Call `note(layer, input, there)` for each run of these layers on the calibration sample, `after` after each batch."""
    twin, names = copy.deepcopy(model).eval(), list(layers)
    for batch in split(data.calibration, BATCH_SIZE):
        note_inputs(twin, names, [batch], note)
        after()


def _linear(model: nn.Module) -> list[str]:
    return [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]


def _weight(model: nn.Module, layer: str) -> Tensor:
    return model.get_submodule(layer).get_parameter("weight").detach()


def _int8(layer: Layer | Recurrent, *, stored_grid: bool) -> dict[str, Any]:
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return float_layer(layer, PROJECTED)
    return layer_plan(layer, "int8", activations=isinstance(layer, nn.Linear), stored_grid=stored_grid)
