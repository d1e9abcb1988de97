"""Static post-training quantization: int8 weights and activations, ranges fixed by calibration."""

import copy
import dataclasses
from typing import Any

from torch import nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.quantize.bias_correction import correct_biases
from slimline.methods.quantize.clipping import clipped_weight
from slimline.methods.quantize.equalize import Equalized, equalize
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import (
    INT8_WEIGHTS,
    NO_INT8_GRU,
    PROJECTED,
    UINT8_ACTIVATIONS,
    Layer,
    Plan,
    Recurrent,
    entries_of,
    float_layer,
    float_reasons,
    layer_plan,
    make_plan,
    weighted_layers,
    weighted_of_kind,
)
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.ranges import aligned_range, input_range, symmetric_range
from slimline.methods.quantize.recurrent import HIDDEN_RANGE
from slimline.methods.quantize.tables import table_entries
from slimline.params.quantize import CalibratedParams, StaticParams
from slimline.training.records import LayerRecord, Records


def static(model: nn.Module, config: StaticParams, *, statistics: Records, data: MethodData | None = None) -> Quantized:
    """Int8 for every Linear, convolution and LSTM, first, last and depthwise ones included, but those in keep_float.

    Weights are symmetric, by default with a scale an output channel, which also serves depthwise convolutions; inputs are
    unsigned, over the range that the observer takes from the model's own statistics. A layer that is not run by its own
    forward alone, or whose input never varies, stays in float and says so. An LSTM's range also holds its hidden state,
    -1 to 1, for kernels have one for both; a GRU has int8 weights alone. By default the weights stay the source's;
    `equalize`, `weight_observer` and `bias_correction` change them, in this order, and need `data`.
    Jacob et al. 2018, arXiv:1712.05877; Nagel et al. 2021, arXiv:2106.08295.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: torch.export cannot follow the model, where batch norms are to be folded.
    """
    return with_corrected_biases(calibrated(model, config, statistics=statistics, data=data), config, data=data)


def calibrated(model: nn.Module, config: CalibratedParams, *, statistics: Records, data: MethodData | None) -> Quantized:
    """The plan, and a copy of the model made ready for it: batch norms folded, equalised and weights clipped where asked.

    `reference` is the float model before its weights were clipped. Folding goes with whatever depends on the weights as the
    kernels see them: equalisation, bias correction, one scale for a whole layer.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: torch.export cannot follow the model.
    """
    float_reasons(model, config.keep_float, None)
    ready, notes = copy.deepcopy(model).eval(), tuple[str, ...]()
    if config.equalize:
        equal = equalize(model, example=required(data).example, calibration=required(data).calibration)
        ready, notes, statistics = equal.model, _described(equal), required(data).collect(equal.model)
    elif config.bias_correction or config.granularity == "per-tensor":
        ready, notes = fold_batchnorm(model, required(data).example), ("Batch norms are folded into the layers before them.",)
    plan = _plan(ready, config, statistics, data)
    reference = copy.deepcopy(ready)
    if config.weight_observer == "mse":
        for name in weighted_of_kind(plan, "static"):
            layer = weighted_layers(ready)[name]
            layer.weight.data = clipped_weight(layer.weight, plan["layers"][name])
    return Quantized(ready, plan, reference=reference, notes=notes)


def with_corrected_biases(made: Quantized, config: CalibratedParams, *, data: MethodData | None) -> Quantized:
    """The same with its biases corrected, where the config says so."""
    if not config.bias_correction:
        return made
    reference = made.model if made.reference is None else made.reference
    model = correct_biases(made.model, made.plan, reference=reference, calibration=required(data).calibration, grids=made.grids)
    return dataclasses.replace(made, model=model, notes=(*made.notes, "Biases are corrected on the calibration sample."))


def required(data: MethodData | None) -> MethodData:
    """The samples, for what cannot do without.

    Raises:
        StageError: there are none.
    """
    if data is None:
        raise StageError("quantize: equalize, bias_correction, per-tensor and adaround need the calibration sample; none was given")
    return data


def _plan(model: nn.Module, config: CalibratedParams, statistics: Records, data: MethodData | None) -> Plan:
    table = table_entries(config.embeddings)
    entries = entries_of(model, config.keep_float, data, lambda name, layer: _int8(layer, statistics.layers.get(name), config), table)
    scheme = {
        "weights": INT8_WEIGHTS | {"granularity": config.granularity},
        "activations": UINT8_ACTIVATIONS | {"symmetric": config.activations == "symmetric"},
    }
    percentile = config.percentile if config.observer == "percentile" else None
    return make_plan(config.method, entries, scheme=scheme, observer=config.observer, percentile=percentile)


def _int8(layer: Layer | Recurrent, record: LayerRecord | None, config: CalibratedParams) -> dict[str, Any]:
    if isinstance(layer, nn.GRU):
        return layer_plan(layer, "int8", activations=False, reason=NO_INT8_GRU)
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return float_layer(layer, PROJECTED)
    if record is None:
        return float_layer(layer, "did not run on the calibration sample, so its range is unknown")
    low, high = input_range(record, config.observer, config.percentile, symmetric=config.activations == "symmetric")
    if not high > low:
        return float_layer(layer, f"its input is {low:g} on the whole calibration sample")
    if isinstance(layer, nn.LSTM):
        low, high = min(low, HIDDEN_RANGE[0]), max(high, HIDDEN_RANGE[1])
        both = symmetric_range(low, high) if config.activations == "symmetric" else aligned_range(low, high)
        return layer_plan(layer, "int8", activations=True, input_range=both)
    return layer_plan(layer, "int8", activations=True, input_range=(low, high), granularity=config.granularity)


def _described(equal: Equalized) -> tuple[str, ...]:
    names = ", ".join(f"{pair.first} and {pair.second}" for pair in equal.pairs)
    found = f"Equalised: {names}." if names else "Equalisation found no two layers that it could scale against each other."
    replaced = (f"ReLU6 became ReLU where it clipped nearly nothing: {', '.join(equal.replaced)}.",) if equal.replaced else ()
    return "Batch norms are folded into the layers before them.", found, *replaced
