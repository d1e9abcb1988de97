"""The quantization plan: what each layer becomes, as plain JSON that every target can lower."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from slimline.errors import InputError

SCHEMA = 1
LAYER_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d)
KEPT = "kept in float by keep_float"
Plan = dict[str, Any]
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


def layer_plan(layer: Layer, precision: str, *, activations: bool, reason: str | None = None) -> dict[str, Any]:
    """One layer's entry: precision of its weights, whether its inputs are quantized too, and why where it stays float."""
    return {"type": type(layer).__name__, "precision": precision, "activations": activations, "input_range": None, "reason": reason}


def float_layer(layer: Layer, reason: str) -> dict[str, Any]:
    """The entry of a layer that stays in float32."""
    return layer_plan(layer, "float32", activations=False, reason=reason)


def make_plan(method: str, layers: dict[str, dict[str, Any]], **settings: Any) -> Plan:
    """A whole plan; `settings` are scheme, observer and dtype where the method has them."""
    empty = {"scheme": {"weights": None, "activations": None}, "observer": None, "percentile": None, "dtype": None}
    return {"schema": SCHEMA, "method": method, **empty, **settings, "layers": layers}


def planned(plan: Plan, precision: str) -> tuple[str, ...]:
    """The layers that the plan stores in a precision, in order."""
    return tuple(name for name, layer in plan["layers"].items() if layer["precision"] == precision)


def estimated_bytes(model: nn.Module, plan: Plan) -> int:
    """What the weights will take: planned layers in their precision with a float32 scale a channel, the rest in float32.

    Batch-norm parameters are left out, since every target folds them into the convolution before.
    """
    layers = weighted_layers(model)
    total = 0
    for name, layer in layers.items():
        precision = plan["layers"].get(name, {}).get("precision", "float32")
        weight, bias = layer.weight, layer.bias
        each = {"int8": 1, "float16": 2, "bfloat16": 2}.get(precision, 4)
        total += weight.numel() * each + (4 * len(weight) if precision == "int8" else 0) + (0 if bias is None else bias.numel() * 4)
    return total
