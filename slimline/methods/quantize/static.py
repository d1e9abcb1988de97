"""Static post-training quantization: int8 weights and activations, ranges fixed by calibration."""

import copy
from typing import Any

from torch import nn

from slimline.methods.quantize.plan import (
    INT8_WEIGHTS,
    KEPT,
    UINT8_ACTIVATIONS,
    Layer,
    float_layer,
    kept_layers,
    layer_plan,
    make_plan,
    weighted_layers,
)
from slimline.methods.quantize.quantized import Quantized, QuantizeData
from slimline.methods.quantize.ranges import LayerRecord, Records, input_range
from slimline.params import StaticParams


def static(model: nn.Module, config: StaticParams, *, statistics: Records, data: QuantizeData | None = None) -> Quantized:  # noqa: ARG001 (uniform signature)
    """Plan int8 for every Linear and convolution, first, last and depthwise ones included, but those in keep_float.

    Weights are symmetric with a scale an output channel, which also serves depthwise convolutions; inputs are unsigned
    with a zero point, over the range that the observer takes from the model's own statistics. A layer that did not run
    on the calibration sample, or whose input never varies, stays in float and says so.
    Jacob et al. 2018, arXiv:1712.05877.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    layers = weighted_layers(model)
    kept = kept_layers(layers, config.keep_float)
    entries = {
        name: float_layer(layer, KEPT) if name in kept else _int8(layer, statistics.layers.get(name), config)
        for name, layer in layers.items()
    }
    scheme = {"weights": INT8_WEIGHTS, "activations": UINT8_ACTIVATIONS}
    percentile = config.percentile if config.observer == "percentile" else None
    plan = make_plan("static", entries, scheme=scheme, observer=config.observer, percentile=percentile)
    return Quantized(copy.deepcopy(model).eval(), plan)


def _int8(layer: Layer, record: LayerRecord | None, config: StaticParams) -> dict[str, Any]:
    if record is None:
        return float_layer(layer, "did not run on the calibration sample, so its range is unknown")
    low, high = input_range(record, config.observer, config.percentile)
    if not high > low:
        return float_layer(layer, f"its input is {low:g} on the whole calibration sample")
    return layer_plan(layer, "int8", activations=True, input_range=(low, high))
