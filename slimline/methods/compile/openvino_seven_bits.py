"""Weights of int8 arithmetic in 7 bits, for CPUs whose sums of int8 products would saturate."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from slimline.methods.compile.integer_weights import seven_bits
from slimline.methods.compile.openvino_edits import MOVES, source_beyond
from slimline.methods.compile.openvino_graph import layer_operations
from slimline.methods.compile.saturation import sums_saturate
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, recurrent_of_kind, weighted_of_kind
from slimline.methods.quantize.token_ranges import token_ranged

switch_off_telemetry()
import openvino as ov  # noqa: E402

STORED_IN_SEVEN_BITS = (
    "This CPU has neither VNNI nor AMX and adds two int8 products in 16 bits: weights of int8 arithmetic are stored in 7 bits, "
    "so that no sum saturates."
)


def saturating_layers(plan: Plan, grids: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The layers whose inputs are rounded to int8 as well, where this CPU would saturate; elsewhere none."""
    rounded = *weighted_of_kind(plan, "static"), *recurrent_of_kind(plan, "static"), *token_ranged(plan, grids)
    return rounded if sums_saturate() else ()


def store_in_seven_bits(graph: ov.Model, layers: Iterable[str]) -> None:
    """Halve the levels of the layers' weights as NNCF stored them, and double their scales, in place.

    NNCF's own way (OverflowFix) rounds otherwise than a table that shares the weight, which then would stand twice.
    """
    halved = set()
    for _, operation in layer_operations(graph, layers):
        scaled, unpacked = (source_beyond(operation.input_value(1), kinds) for kinds in (MOVES, (*MOVES, "Multiply")))
        if scaled.get_friendly_name() in halved or (scaled.get_type_name(), unpacked.get_type_name()) != ("Multiply", "Convert"):
            continue
        halved.add(scaled.get_friendly_name())
        levels, scale = unpacked.input_value(0).get_node(), scaled.input_value(1).get_node()
        unpacked.input(0).replace_source_output(ov.opset13.constant(seven_bits(levels.data)).output(0))
        scaled.input(1).replace_source_output(ov.opset13.constant(scale.data * 2).output(0))
