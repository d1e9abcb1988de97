"""The quantization plan: what each layer becomes, as plain JSON that every target can lower."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from slimline.data.batch import take
from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of, why_folded, why_not_planned, why_unused
from slimline.methods.name_patterns import matching

SCHEMA = 1
FLOAT = "float32"
INTEGERS = ("int2", "int3", "int4", "int8")
"""Weights of 2 and 3 bits are stored in 4: no runtime packs them closer."""
PRECISIONS = (*INTEGERS, "float16", "bfloat16")
GRID_KEYS = ("granularity", "group_size", "symmetric")
LAYER_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d)
RECURRENT_TYPES = (nn.LSTM, nn.GRU)
RECURRENT_NAMES = tuple(kind.__name__ for kind in RECURRENT_TYPES)
TABLE = nn.Embedding.__name__
FEW = 2
"""Samples that show which layers are used."""
KEPT = "kept in float by keep_float"
FLOAT_TABLE = "kept in float by embeddings: float32"
NO_INT8_GRU = "no CPU runtime has int8 kernels for a GRU, so only its weights are int8"
PROJECTED = "an LSTM with projections (proj_size) is not quantized"
Plan = dict[str, Any]
Kind = Literal["static", "dynamic", "weights", "half", "float"]
Layer = nn.Linear | nn.Conv1d | nn.Conv2d
Recurrent = nn.LSTM | nn.GRU
AnyLayer = Layer | Recurrent | nn.Embedding
Small = Callable[[str, Layer | Recurrent], dict[str, Any]]
"""(layer name, layer) -> its entry in a plan."""

INT8_WEIGHTS = {"dtype": "int8", "granularity": "per-channel", "symmetric": True}
UINT8_ACTIVATIONS = {"dtype": "uint8", "granularity": "per-tensor", "symmetric": False}
BLOCKWISE_INT8 = {"dtype": "int8", "granularity": "per-block", "symmetric": True}
"""Inputs that a kernel for integer weights rounds while it runs, each block of a row over its own range."""


def weighted_layers(model: nn.Module) -> dict[str, Layer]:
    """Every Linear and convolution: module name -> layer, in the model's own order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LAYER_TYPES)}


def recurrent_layers(model: nn.Module) -> dict[str, Recurrent]:
    """Every LSTM and GRU: module name -> layer, in the model's own order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, RECURRENT_TYPES)}


def tables(model: nn.Module) -> dict[str, nn.Embedding]:
    """Every embedding: module name -> layer, in the model's own order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}


def every_layer(model: nn.Module) -> dict[str, AnyLayer]:
    """What a plan may speak of: the Linear, convolution and recurrent layers and the embeddings, in the model's own order."""
    kinds = (*LAYER_TYPES, *RECURRENT_TYPES, nn.Embedding)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def matrices(layer: nn.RNNBase) -> dict[str, Tensor]:
    """A recurrent layer's weights by parameter name (`weight_ih_l0`, `weight_hh_l0`, …), each [gates x hidden, inputs]."""
    return {name: value for name, value in layer.named_parameters() if name.startswith("weight")}


def float_reasons(model: nn.Module, keep_float: Sequence[str], data: MethodData | None) -> dict[str, str]:
    """The layers that stay in float, and why: those that keep_float names (`*` stands for any part of a name), and those whose weight
    no plan can follow, as calibration samples show it; without them every layer counts as used the usual way.

    Raises:
        InputError: an entry of keep_float matches no layer.
    """
    layers = every_layer(model)
    kept = dict.fromkeys(matching(keep_float, layers, "quantize: keep_float"), KEPT)
    if data is None:
        return kept
    few = take(data.calibration, slice(0, FEW))
    by_input = why_unused(model, layers, few) | why_folded(model, layers, few, data.signature)
    return by_input | why_not_planned(layers, uses_of(model, few)) | kept


def require_some(plan: Plan, model: nn.Module, keep_float: Sequence[str], data: MethodData) -> None:
    """Hold a plan to quantizing anything.

    Raises:
        Impossible: no layer of a model built like this one can be.
        StageError: none is, by the values that the calibration sample or the weights have.
    """
    if any(layer["precision"] != FLOAT for layer in plan["layers"].values()):
        return
    reasons = {str(layer["reason"]) for layer in plan["layers"].values()}
    by_structure = {*float_reasons(model, keep_float, data).values(), PROJECTED}
    why = "; ".join(sorted(reasons)) or "the model has no layer with weights"
    refused = Impossible if reasons <= by_structure else StageError
    raise refused(f"quantize: no layer would be quantized ({why}); change params.yaml: quantize, or remove the variant")


def entries_of(
    model: nn.Module, keep_float: Sequence[str], data: MethodData | None, small: Small, table: Small | None = None
) -> dict[str, dict[str, Any]]:
    """The plan's layers: what `small` makes of each, or float with the reason (see float_reasons).

    `table` does the same for embeddings, and for the layers that share an embedding's weight, which is stored once: such a layer keeps
    what `small` says of it where that is the same grid. Without it they stay in float.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    reasons = float_reasons(model, keep_float, data)
    owners = table_owners(model)
    for name, owner in owners.items():
        group = [other for other, its in owners.items() if its == owner]
        if name not in reasons and (kept := next((other for other in group if other in reasons), None)):
            reasons[name] = f"shares its weight with {kept}, which stays in float"
    entries: dict[str, dict[str, Any]] = {}
    for name, layer in every_layer(model).items():
        if name in reasons:
            entries[name] = float_layer(layer, reasons[name])
        elif name in owners:
            entries[name] = _of_table(name, layer, small, table)
        elif not isinstance(layer, nn.Embedding):
            entries[name] = small(name, layer)
    return entries


def table_owners(model: nn.Module) -> dict[str, str]:
    """The embeddings, and the layers that share the weight of one (a tied head): module name -> the embedding's name."""
    by_weight = {id(layer.weight): name for name, layer in reversed(tables(model).items())}
    weighted = {**weighted_layers(model), **tables(model)}
    return {name: by_weight[id(layer.weight)] for name, layer in weighted.items() if id(layer.weight) in by_weight}


def _of_table(name: str, layer: Any, small: Small, table: Small | None) -> dict[str, Any]:
    if table is None:
        return float_layer(layer, FLOAT_TABLE)
    entry = table(name, layer)
    if isinstance(layer, nn.Embedding):
        return entry
    own = small(name, layer)
    is_same = not own["stored_grid"] and all(own[key] == entry[key] for key in ("precision", *GRID_KEYS))
    return own if is_same else entry


def layer_plan(
    layer: AnyLayer,
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


def float_layer(layer: AnyLayer, reason: str) -> dict[str, Any]:
    """The entry of a layer that stays in float32."""
    return layer_plan(layer, FLOAT, activations=False, reason=reason)


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


def weighted_of_kind(plan: Plan, *kinds: Kind) -> tuple[str, ...]:
    """The same, Linear layers and convolutions alone."""
    others = (*RECURRENT_NAMES, TABLE)
    return tuple(name for name in layers_of_kind(plan, *kinds) if plan["layers"][name]["type"] not in others)


def tables_of_kind(plan: Plan, *kinds: Kind) -> tuple[str, ...]:
    """The same, embeddings alone."""
    return tuple(name for name in layers_of_kind(plan, *kinds) if plan["layers"][name]["type"] == TABLE)


def recurrent_of_kind(plan: Plan, *kinds: Kind) -> tuple[str, ...]:
    """The same, LSTM and GRU layers alone."""
    return tuple(name for name in layers_of_kind(plan, *kinds) if plan["layers"][name]["type"] in RECURRENT_NAMES)


def computes_in_int8(plan: Plan) -> bool:
    """Whether matrix products with integer weights alone round their inputs too, block by block while they run."""
    return bool(plan["scheme"]["activations"] == BLOCKWISE_INT8)


def smallest_precision(plan: Plan) -> str:
    """The precisions of the planned weights, joined: "int8", or "int4+bfloat16" where they are mixed."""
    found = {entry["precision"] for entry in plan["layers"].values()}
    return "+".join(name for name in PRECISIONS if name in found) or "float32"


def stored_bits(precision: str) -> int:
    """The bits that a file holds an integer of some precision in: no runtime packs closer than 4."""
    return max(int(precision.removeprefix("int")), 4)


def stored_precision(precision: str) -> str:
    """The type that a file holds weights of some precision in."""
    return f"int{stored_bits(precision)}" if precision in INTEGERS else precision


def make_plan(method: str, layers: dict[str, dict[str, Any]], **settings: Any) -> Plan:
    """A whole plan; `settings` are scheme, observer and dtype where the method has them."""
    empty = {"scheme": {"weights": None, "activations": None}, "observer": None, "percentile": None, "dtype": None}
    return {"schema": SCHEMA, "method": method, **empty, **settings, "layers": layers}


def planned(plan: Plan, precision: str) -> tuple[str, ...]:
    """The layers that the plan stores in a precision, in order."""
    return tuple(name for name, layer in plan["layers"].items() if layer["precision"] == precision)
