"""The quantization plan: what each layer becomes, as plain JSON that every target can lower."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from slimline.errors import InputError

SCHEMA = 1
INTEGERS = ("int4", "int8")
PRECISIONS = (*INTEGERS, "float16", "bfloat16")
GRID_KEYS = ("granularity", "group_size", "symmetric")
LAYER_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d)
KEPT = "kept in float by keep_float"
Plan = dict[str, Any]
Kind = Literal["static", "dynamic", "weights", "half", "float"]
Layer = nn.Linear | nn.Conv1d | nn.Conv2d

INT8_WEIGHTS = {"dtype": "int8", "granularity": "per-channel", "symmetric": True}
UINT8_ACTIVATIONS = {"dtype": "uint8", "granularity": "per-tensor", "symmetric": False}


def weighted_layers(model: nn.Module) -> dict[str, Layer]:
    """Every Linear and convolution: module name -> layer, in the model's own order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LAYER_TYPES)}


def kept_layers(layers: Mapping[str, Layer], keep_float: Sequence[str]) -> set[str]:
    """The layers that keep_float names; `*` stands for any part of a name.

    Raises:
        InputError: an entry matches no layer.
    """
    kept: set[str] = set()
    for pattern in keep_float:
        found = set(fnmatch.filter(layers, pattern))
        if not found:
            raise InputError(f"params.yaml: quantize: keep_float: {pattern!r} matches no layer; there are: {', '.join(layers)}")
        kept |= found
    return kept


def layer_plan(
    layer: Layer,
    precision: str,
    *,
    activations: bool,
    input_range: Sequence[float] | None = None,
    granularity: str = "per-channel",
    group_size: int | None = None,
    symmetric: bool = True,
    stored_grid: bool = False,
    reason: str | None = None,
) -> dict[str, Any]:
    """One layer's entry: precision and grid of its weights, how its inputs are quantized, and why where it stays float.

    `granularity`, `group_size` and `symmetric` are those of integer weights; with `stored_grid` their scales stand in
    quantization.safetensors, without it the weights themselves tell them (see weights.derived_grid).
    """
    is_integer = precision in INTEGERS
    grid = {"granularity": granularity, "group_size": group_size, "symmetric": symmetric} if is_integer else dict.fromkeys(GRID_KEYS)
    return {
        "type": type(layer).__name__,
        "precision": precision,
        "activations": activations,
        "input_range": None if input_range is None else list(input_range),
        **grid,
        "stored_grid": stored_grid,
        "reason": reason,
    }


def float_layer(layer: Layer, reason: str) -> dict[str, Any]:
    """The entry of a layer that stays in float32."""
    return layer_plan(layer, "float32", activations=False, reason=reason)


def kind(entry: Mapping[str, Any]) -> Kind:
    """How a layer runs: its entry alone says so.

    static: int8 weights and inputs, ranges fixed. dynamic: int8 weights, inputs ranged while running. weights: integer weights
    that are unpacked, computed in float. half: 16 bits. float: as it was.
    """
    if entry["precision"] == "float32":
        return "float"
    if entry["precision"] not in INTEGERS:
        return "half"
    if not entry["activations"]:
        return "weights"
    return "dynamic" if entry["input_range"] is None else "static"


def layers_of_kind(plan: Plan, *kinds: Kind) -> tuple[str, ...]:
    """The layers that run in one of these ways, in the plan's order."""
    return tuple(name for name, entry in plan["layers"].items() if kind(entry) in kinds)


def smallest_precision(plan: Plan) -> str:
    """The precisions of the planned weights, joined: "int8", or "int4+bfloat16" where they are mixed."""
    found = {entry["precision"] for entry in plan["layers"].values()}
    return "+".join(name for name in PRECISIONS if name in found) or "float32"


def make_plan(method: str, layers: dict[str, dict[str, Any]], **settings: Any) -> Plan:
    """A whole plan; `settings` are scheme, observer and dtype where the method has them."""
    empty = {"scheme": {"weights": None, "activations": None}, "observer": None, "percentile": None, "dtype": None}
    return {"schema": SCHEMA, "method": method, **empty, **settings, "layers": layers}


def planned(plan: Plan, precision: str) -> tuple[str, ...]:
    """The layers that the plan stores in a precision, in order."""
    return tuple(name for name, layer in plan["layers"].items() if layer["precision"] == precision)


def estimated_bytes(model: nn.Module, plan: Plan) -> int:
    """What the weights will take: planned layers in their precision with a float32 scale a channel or group, the rest in float32.

    An asymmetric grid has a byte of zero point beside each scale. Batch-norm parameters are left out, since every target
    folds them into the convolution before.
    """
    return sum(_layer_bytes(layer, plan["layers"].get(name)) for name, layer in weighted_layers(model).items())


def _layer_bytes(layer: Layer, entry: Mapping[str, Any] | None) -> int:
    values, bias_bytes = layer.weight.numel(), 0 if layer.bias is None else layer.bias.numel() * 4
    if entry is None or entry["precision"] == "float32":
        return values * 4 + bias_bytes
    if entry["precision"] not in INTEGERS:
        return values * 2 + bias_bytes
    group_size = entry["group_size"] or layer.weight[0].numel()
    scales = 1 if entry["granularity"] == "per-tensor" else values // group_size
    return values * int(entry["precision"][3:]) // 8 + scales * (4 if entry["symmetric"] else 5) + bias_bytes
