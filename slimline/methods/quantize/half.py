"""16-bit floating point: half the bytes; faster only where the CPU computes in that type."""

import copy
from typing import Any

import torch
from torch import nn

from slimline.methods.data import MethodData
from slimline.methods.quantize.plan import PROJECTED, RECURRENT_TYPES, AnyLayer, entries_of, float_layer, layer_plan, make_plan, matrices
from slimline.methods.quantize.quantized import Quantized
from slimline.params import HalfParams
from slimline.training.records import Records


def half(
    model: nn.Module,
    config: HalfParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData | None = None,
) -> Quantized:
    """Plan 16-bit weights for every Linear, convolution, LSTM and GRU; a float16 layer whose weights would overflow stays in float32.

    Whether the arithmetic is 16-bit as well depends on the target and the CPU; compile says what came of it.
    Micikevicius et al. 2018, arXiv:1710.03740; Kalamkar et al. 2019, arXiv:1905.12322.
    """
    entries = entries_of(model, (), data, *[lambda _, layer: _sixteen_bit(layer, config.dtype)] * 2)
    scheme = {"weights": {"dtype": config.dtype, "granularity": None, "symmetric": None}, "activations": None}
    return Quantized(copy.deepcopy(model).eval(), make_plan("half", entries, scheme=scheme, dtype=config.dtype))


def _sixteen_bit(layer: AnyLayer, dtype: str) -> dict[str, Any]:
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return float_layer(layer, PROJECTED)
    weights = list(matrices(layer).values()) if isinstance(layer, RECURRENT_TYPES) else [layer.weight]
    largest = max(float(weight.detach().abs().max()) for weight in weights)
    if largest > torch.finfo(getattr(torch, dtype)).max:
        return float_layer(layer, f"its largest weight, {largest:g}, is beyond {dtype}")
    return layer_plan(layer, dtype, activations=not isinstance(layer, nn.Embedding))
