"""Smaller weights in an OpenVINO graph: integers and 16-bit constants."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from slimline.methods.compile.integer_weights import IntegerWeight, integer_weight
from slimline.methods.compile.openvino_graph import layer_name, layer_operations, table_operations
from slimline.methods.compile.openvino_integers import oriented, store_integers, store_table, store_table_apart
from slimline.methods.compile.openvino_seven_bits import saturating_layers
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, table_owners, tables, tables_of_kind, weighted_layers, weighted_of_kind
from slimline.methods.quantize.token_ranges import token_ranged
from slimline.methods.quantize.weights import stored_grid

switch_off_telemetry()
import openvino as ov  # noqa: E402

SIXTEEN_BIT = {"bfloat16": ov.Type.bf16, "float16": ov.Type.f16}


def store_weights(graph: ov.Model, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> ov.Model:
    """The graph with the weights of the plan's `weights`, `dynamic` and `half` layers stored in their precision.

    Raises:
        StageError: the graph's weight is not that of the model's layer.
    """
    placed, tabled = list(_integers(graph, model, plan, grids)), list(_tables(graph, model, plan, grids))
    owners = table_owners(model)
    heads = {owners[layer_name(operation)]: operation for operation, _ in placed if layer_name(operation) in owners}
    store_integers(placed)
    store = store_table_apart if token_ranged(plan, grids) else store_table
    for operation, weight in tabled:
        store(operation, weight, heads.get(layer_name(operation)))
    halves = [(layer, operation, 1) for layer, operation in layer_operations(graph, weighted_of_kind(plan, "half"))]
    halves += [(layer, operation, 0) for layer, operation in table_operations(graph, tables_of_kind(plan, "half"))]
    for layer, operation, place in halves:
        constant = operation.input_value(place).get_node()
        if constant.get_type_name() == "Constant":
            small = ov.opset13.constant(constant.data, dtype=SIXTEEN_BIT[plan["layers"][layer]["precision"]])
            operation.input(place).replace_source_output(ov.opset13.convert(small, "f32").output(0))
    return graph


def _integers(graph: ov.Model, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> Iterator[tuple[Any, IntegerWeight]]:
    layers = weighted_layers(model)
    by_token = token_ranged(plan, grids)
    wanted = [name for name in weighted_of_kind(plan, "weights", "dynamic") if name not in by_token]
    for layer, operation in layer_operations(graph, wanted):
        constant = operation.input_value(1).get_node()
        if constant.get_type_name() == "Constant":
            entry = plan["layers"][layer]
            grid = stored_grid(grids, layer, entry)
            yield operation, integer_weight(layers[layer].weight, entry, grid, oriented(operation, constant.data))


def _tables(graph: ov.Model, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> Iterator[tuple[Any, IntegerWeight]]:
    embeddings = tables(model)
    saturating = saturating_layers(plan, grids)
    small = {owner for head, owner in table_owners(model).items() if head in saturating}
    for layer, operation in table_operations(graph, tables_of_kind(plan, "weights")):
        constant = operation.input_value(0).get_node()
        if constant.get_type_name() == "Constant":
            entry = plan["layers"][layer]
            made = integer_weight(embeddings[layer].weight, entry, stored_grid(grids, layer, entry), constant.data)
            yield operation, made.in_seven_bits() if layer in small else made
