"""How long a model computes, estimated without a clock: multiply-accumulates, each priced by its layer's kind and precision."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from slimline.data.batch import Batch
from slimline.methods.quantize.mixed_cost import layer_kind, layer_macs
from slimline.methods.quantize.plan import FLOAT, every_layer, kind
from slimline.params.quantize import MAC_COST

COMPUTED_IN_INTEGERS = ("static", "dynamic")
PRICES: Mapping[Any, Mapping[Any, float]] = MAC_COST


def estimated_time(model: nn.Module, example: Batch, plan: Mapping[str, Any] | None = None) -> float:
    """The priced multiply-accumulates of one sample of `example`, a float32 one of a convolution being 1 (docs/decisions/0007).

    `plan` says which layers compute in int8; integer weights that are unpacked compute in float32, and so are priced. Activations,
    norms and what a layer costs however small it is are not in it.
    """
    layers, planned = every_layer(model), (plan or {}).get("layers", {})
    return float(sum(macs * _price(layers[name], planned.get(name)) for name, macs in layer_macs(model, example).items()))


def _price(layer: nn.Module, entry: Mapping[str, Any] | None) -> float:
    computes_int8 = entry is not None and kind(entry) in COMPUTED_IN_INTEGERS
    return PRICES[layer_kind(layer)]["int8" if computes_int8 else FLOAT]
