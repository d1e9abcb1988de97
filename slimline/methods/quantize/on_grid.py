"""The grids that weights are trained on where weight_only is to follow, and how they are put on them."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from slimline.methods.quantize.plan import LAYER_TYPES
from slimline.methods.quantize.weight_only import weight_entries
from slimline.methods.quantize.weights import rounded_weight
from slimline.methods.shared_weights import shared_weights
from slimline.params import Recovery, WeightOnlyParams

BITS: dict[Literal["int4", "int8"], Literal[4, 8]] = {"int4": 4, "int8": 8}


def roundings(model: nn.Module, config: Recovery) -> dict[str, Callable[[Tensor], Tensor]]:
    """Parameter name -> its rounding as symmetric weight_only does it, of layers whose weight is theirs alone; none without lora_grid."""
    if config.lora_grid is None:
        return {}
    shared = shared_weights(model)
    plain = WeightOnlyParams(source="teacher", method="weight_only", bits=BITS[config.lora_grid], group_size=config.lora_group)
    entries = weight_entries(model, plain, None, granularity="per-group", symmetric=True)
    names = {f"{name}.weight": entry for name, entry in entries.items() if isinstance(model.get_submodule(name), LAYER_TYPES)}
    return {name: partial(rounded_weight, entry=entry) for name, entry in names.items() if name not in shared}
