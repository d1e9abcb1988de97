"""Embeddings in small integers: a lookup table's rows, and the weight of a head that shares them."""

from typing import Any, Literal

from torch import nn

from slimline.methods.quantize.plan import Layer, Recurrent, Small, layer_plan
from slimline.methods.quantize.weight_sizes import group_size_for

TablePrecision = Literal["float32", "int8", "int4"]


def table_entries(precision: TablePrecision, group_size: int = 32) -> Small | None:
    """What `entries_of` makes of embeddings: int8 with a scale for each row, or int4 in groups; None leaves them in float.

    Rows that cannot be cut into groups are int8, and say so.
    """
    if precision == "float32":
        return None

    def entry(_: str, layer: Layer | Recurrent | nn.Embedding) -> dict[str, Any]:
        assert isinstance(layer, nn.Embedding | nn.Linear)
        values = layer.weight.shape[1]
        size = group_size_for(values, group_size) if precision == "int4" else None
        if size is not None:
            return layer_plan(layer, "int4", activations=False, granularity="per-group", group_size=size)
        reason = f"rows of {values} are no multiple of 16: int8" if precision == "int4" else None
        return layer_plan(layer, "int8", activations=False, reason=reason)

    return entry
