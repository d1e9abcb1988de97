"""Dynamic post-training quantization: int8 weights; what a Linear or LSTM layer receives is ranged while it runs."""

import copy
from typing import Any

from torch import nn

from slimline.methods.data import MethodData
from slimline.methods.quantize.plan import (
    INT8_WEIGHTS,
    NO_INT8_GRU,
    PROJECTED,
    UINT8_ACTIVATIONS,
    Layer,
    Recurrent,
    entries_of,
    float_layer,
    layer_plan,
    make_plan,
)
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.tables import table_entries
from slimline.params import DynamicParams
from slimline.training.records import Records


def dynamic(
    model: nn.Module,
    config: DynamicParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData | None = None,
) -> Quantized:
    """Plan int8 weights for every Linear, convolution, LSTM and GRU, and run-time ranges of their inputs for Linear and LSTM.

    Convolutions compute in float: with run-time ranges they are 2 to 4 times slower than float32 on ONNX Runtime. So do GRU
    layers, for which no CPU runtime has an int8 kernel (oneDNN has none for the reset gate behind the product, as PyTorch has it).
    No calibration is needed, so `statistics` is not read.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    entries = entries_of(model, config.keep_float, data, lambda _, layer: _int8(layer), table_entries(config.embeddings))
    scheme = {"weights": INT8_WEIGHTS, "activations": UINT8_ACTIVATIONS}
    plan = make_plan("dynamic", entries, scheme=scheme, dtype=None if config.rest == "float32" else config.rest)
    return Quantized(copy.deepcopy(model).eval(), plan)


def _int8(layer: Layer | Recurrent) -> dict[str, Any]:
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return float_layer(layer, PROJECTED)
    reason = NO_INT8_GRU if isinstance(layer, nn.GRU) else None
    return layer_plan(layer, "int8", activations=isinstance(layer, nn.Linear | nn.LSTM), reason=reason)
