"""Where the layers of a model are in an OpenVINO graph."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from slimline.methods.compile.integer_weights import channel_factor
from slimline.methods.compile.onnx_graph import layer_of
from slimline.methods.compile.openvino_edits import UNPACKING, source_beyond
from slimline.methods.compile.openvino_integers import oriented
from slimline.methods.compile.openvino_recurrent import stored_recurrent
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, stored_precision, weighted_layers

switch_off_telemetry()
import openvino as ov  # noqa: E402

WEIGHTED_OPS = ("Convolution", "GroupConvolution", "MatMul")
RECURRENT_OPS = ("LSTMSequence", "GRUSequence")
OTHER_WEIGHTED_OPS = ("Gather", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell")
TYPES = {
    ("int8", True): ov.Type.i8,
    ("int8", False): ov.Type.u8,
    ("int4", True): ov.Type.i4,
    ("int4", False): ov.Type.u4,
    ("bfloat16", None): ov.Type.bf16,
    ("float16", None): ov.Type.f16,
}
WITHOUT_BIASES = "/WithoutBiases"
"""What OpenVINO appends to the name of a layer whose bias it parts."""


def name_apart(graph: ov.Model, inputs: Iterable[str]) -> None:
    """Call the operation of a layer that is named as an input is by the layer's name again, in place: OpenVINO has numbered it."""
    known = set(inputs)
    for operation in graph.get_ordered_ops():
        name = operation.get_friendly_name().removesuffix(WITHOUT_BIASES)
        base, _, number = name.rpartition("_")
        if base in known and number.isdigit():
            operation.set_friendly_name(f"{base}#{number}")


def name_scaled(graph: ov.Model, model: nn.Module) -> None:
    """Give each operation that has lost its layer's name, but not its layer's weight, that name back, in place.

    OpenVINO fuses a multiplication into the weight before it (a batch norm behind a layer that runs twice, a layer scale), and calls
    the operation by the multiplication's name. The weight is then the layer's own, times a factor for each output.
    """
    layers, taken = weighted_layers(model), {operation.get_friendly_name() for operation in graph.get_ordered_ops()}
    for operation in graph.get_ordered_ops():
        constant = operation.input_value(1).get_node() if operation.get_type_name() in WEIGHTED_OPS else None
        if constant is None or constant.get_type_name() != "Constant" or layer_name(operation) in layers:
            continue
        value = oriented(operation, constant.data)
        if owner := next((name for name, layer in layers.items() if channel_factor(layer.weight, value) is not None), None):
            name = next(name for name in (f"{owner}#{number}" for number in itertools.count(1)) if name not in taken)
            operation.set_friendly_name(name)
            taken.add(name)


def layer_name(operation: Any) -> str:
    """The layer that a named operation computes."""
    return layer_of(operation.get_friendly_name().removesuffix(WITHOUT_BIASES))


def layer_operations(model: ov.Model, layers: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The operations with a layer's weight: (layer, operation)."""
    known = set(layers)
    for operation in model.get_ordered_ops():
        layer = layer_name(operation)
        if operation.get_type_name() in WEIGHTED_OPS and layer in known:
            yield layer, operation


def table_operations(model: ov.Model, layers: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The operations that look up an embedding's rows: (layer, operation)."""
    known = set(layers)
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Gather" and layer_name(operation) in known:
            yield layer_name(operation), operation


def other_operations(model: ov.Model, layers: Iterable[str]) -> list[str]:
    """The names of the operations with weights that are none of these layers; NNCF would round those of an embedding too."""
    wanted = {operation.get_friendly_name() for _, operation in layer_operations(model, layers)}
    found = [
        operation.get_friendly_name()
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in (*WEIGHTED_OPS, *RECURRENT_OPS, *OTHER_WEIGHTED_OPS)
    ]
    return [name for name in found if name not in wanted]


def stored_layers(model: ov.Model, plan: Plan) -> tuple[str, ...]:
    """The plan's layers whose weights really are constants of the planned type, in the plan's order."""
    stored = stored_recurrent(model, plan)
    found = [(layer, operation.input_value(1)) for layer, operation in layer_operations(model, plan["layers"])]
    found += [(layer, operation.input_value(0)) for layer, operation in table_operations(model, plan["layers"])]
    for layer, read in found:
        source = source_beyond(read, UNPACKING)
        entry = plan["layers"][layer]
        if source.get_type_name() == "Constant" and source.get_element_type() == TYPES.get(
            (stored_precision(entry["precision"]), entry["symmetric"])
        ):
            stored.add(layer)
    return tuple(name for name in plan["layers"] if name in stored)
