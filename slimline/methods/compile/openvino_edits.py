"""Steps that several passes over an OpenVINO graph share. Nodes are what OpenVINO's bindings give, which have no types of their own."""

from collections.abc import Container, Iterator
from typing import Any

MOVES = ("Reshape", "Transpose")
PRODUCTS = {"MatMul": (1,), "Convolution": (1,), "GroupConvolution": (1,), "LSTMSequence": (4, 5)}
"""Which inputs are weights; the first is what they multiply."""
UNPACKING = (*MOVES, "Convert", "Multiply", "Subtract", "Squeeze", "Unsqueeze")


def source_beyond(read: Any, kinds: Container[str]) -> Any:
    """The first node of none of these kinds on the way back from what is `read` (an output), over first inputs."""
    node = read.get_node()
    while node.get_type_name() in kinds:
        node = node.input_value(0).get_node()
    return node


def products_in_int8(graph: Any) -> Iterator[Any]:
    """The constants that rounded inputs are multiplied by: nodes of int8 levels, read by products whose other side is rounded as well."""
    for operation in graph.get_ordered_ops():
        places = PRODUCTS.get(operation.get_type_name(), ())
        if places and source_beyond(operation.input_value(0), MOVES).get_type_name() == "FakeQuantize":
            constants = (source_beyond(operation.input_value(place), UNPACKING) for place in places)
            yield from (one for one in constants if one.get_type_name() == "Constant" and one.get_element_type().get_type_name() == "i8")


def put_in_place(operation: Any, made: Any, named: Any) -> None:
    """Let everything that reads an operation read the node `made` instead, in place; the node `named` takes the operation's name."""
    for reader in operation.output(0).get_target_inputs():
        reader.replace_source_output(made.output(0))
    name = operation.get_friendly_name()
    operation.set_friendly_name(f"{name}/float32")
    named.set_friendly_name(name)
