"""Dynamic post-training quantization: int8 weights; what a Linear layer receives is ranged while it runs."""

import copy

from torch import nn

from slimline.methods.quantize.plan import (
    INT8_WEIGHTS,
    KEPT,
    UINT8_ACTIVATIONS,
    float_layer,
    kept_layers,
    layer_plan,
    make_plan,
    weighted_layers,
)
from slimline.methods.quantize.quantized import Quantized, QuantizeData
from slimline.methods.quantize.ranges import Records
from slimline.params import DynamicParams


def dynamic(
    model: nn.Module,
    config: DynamicParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: QuantizeData | None = None,  # noqa: ARG001
) -> Quantized:
    """Plan int8 weights for every Linear and convolution, and run-time activation ranges for Linear layers.

    Convolutions compute in float: with run-time ranges they are 2 to 4 times slower than float32 on ONNX Runtime.
    No calibration is needed, so `statistics` is not read.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    layers = weighted_layers(model)
    kept = kept_layers(layers, config.keep_float)
    entries = {
        name: float_layer(layer, KEPT) if name in kept else layer_plan(layer, "int8", activations=isinstance(layer, nn.Linear))
        for name, layer in layers.items()
    }
    plan = make_plan("dynamic", entries, scheme={"weights": INT8_WEIGHTS, "activations": UINT8_ACTIVATIONS})
    return Quantized(copy.deepcopy(model).eval(), plan)
