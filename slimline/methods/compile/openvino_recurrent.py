"""LSTM and GRU layers in an OpenVINO graph: found by their matrices, stored in fewer bits, computed in int8 where it has kernels."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from slimline.errors import Impossible
from slimline.methods.compile.integer_weights import seven_bits
from slimline.methods.compile.openvino_edits import UNPACKING, source_beyond
from slimline.methods.compile.saturation import sums_saturate
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, Recurrent, kind, matrices, recurrent_layers, recurrent_of_kind
from slimline.methods.quantize.recurrent import HIDDEN_RANGE
from slimline.methods.quantize.weights import derived_grid, levels

switch_off_telemetry()
import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

FIRST_MATRIX = {"LSTMSequence": 4, "GRUSequence": 3}
"""The input that is the matrix for x; the one for the hidden state follows it. Inputs 0 and 1 are x and the hidden state."""
PART = "/recurrent/"
TYPES = {"int8": ov.Type.i8, "float16": ov.Type.f16, "bfloat16": ov.Type.bf16}

Floats = NDArray[np.float32]


def name_recurrent(graph: ov.Model, model: nn.Module) -> None:
    """Give each sequence operation of a float graph its layer's name and depth ("encoder/recurrent/0"), in place.

    OpenVINO keeps no name of an ONNX LSTM or GRU; their matrices are the layer's, the gates in another order.

    Raises:
        StageError: an operation's matrices are those of no layer.
    """
    known = {key: f"{name}{PART}{depth}" for name, layer in recurrent_layers(model).items() for depth, key in _keys(layer)}
    names: list[str] = []
    for operation in graph.get_ordered_ops():
        if operation.get_type_name() not in FIRST_MATRIX:
            continue
        name = known.get(_key(_matrix(operation, 0), _matrix(operation, 1)))
        if name is None:
            raise Impossible(f"compile: a recurrent operation of the OpenVINO graph has the matrices of no layer of {type(model).__name__}")
        operation.set_friendly_name(f"{name}#{names.count(name) + 1}")
        names.append(name)


def recurrent_operations(graph: ov.Model, layers: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
    """The sequence operations of these layers: (layer, which of its layers, operation)."""
    wanted = set(layers)
    for operation in graph.get_ordered_ops():
        layer, _, depth = operation.get_friendly_name().partition("#")[0].rpartition(PART)
        if operation.get_type_name() in FIRST_MATRIX and layer in wanted:
            yield layer, int(depth), operation


def store_recurrent(graph: ov.Model, plan: Plan) -> None:
    """Store the matrices of the plan's recurrent layers in their precision, and round what static LSTM layers multiply, in place.

    Int8 with planned ranges runs in oneDNN's int8 LSTM kernel, which has one range for x and hidden state and one scale for a row
    of both matrices (OpenVINO does not check that: NNCF's own quantization of an LSTM, with a range each, loses the hidden
    state where x is larger). Everything else is unpacked when the model is compiled. There is no int8 GRU kernel.
    https://uxlfoundation.github.io/oneDNN/dev_guide_rnn.html
    """
    for layer, depth, operation in list(recurrent_operations(graph, recurrent_of_kind(plan, "static", "dynamic", "weights", "half"))):
        entry, place = plan["layers"][layer], FIRST_MATRIX[operation.get_type_name()]
        stored = _sixteen_bit(operation, entry) if kind(entry) == "half" else _integers(operation, entry)
        for index, value in enumerate(stored):
            operation.input(place + index).replace_source_output(value.output(0))
        if kind(entry) == "static":
            ends = entry["input_range"] if depth == 0 else HIDDEN_RANGE
            for index in (0, 1):
                operation.input(index).replace_source_output(_rounded(operation.input_value(index), *ends).output(0))


def stored_recurrent(graph: ov.Model, plan: Plan) -> set[str]:
    """The plan's recurrent layers whose every matrix is a constant of the planned type."""
    found: dict[str, bool] = {}
    for layer, _, operation in recurrent_operations(graph, recurrent_of_kind(plan, "static", "dynamic", "weights", "half")):
        wanted = TYPES[plan["layers"][layer]["precision"]]
        are_stored = all(_constant(operation, index).get_element_type() == wanted for index in (0, 1))
        found[layer] = found.get(layer, True) and are_stored
    return {layer for layer, is_stored in found.items() if is_stored}


def _integers(operation: Any, entry: Mapping[str, Any]) -> list[Any]:
    """Constant -> Convert -> Multiply of both matrices: int8, a scale a row, shared by both where their inputs are int8.

    Where they are not, a second Convert keeps OpenVINO from holding the integers back for an int8 kernel, as it does as soon as
    any other layer is static: its float kernels take unpacked constants alone.
    """
    is_int8 = kind(entry) == "static"
    values = [torch.from_numpy(_matrix(operation, index)) for index in (0, 1)]
    rows = [value.reshape(-1, value.shape[-1]) for value in values]
    both = derived_grid(torch.cat(rows, dim=1), entry)
    grids = [both if is_int8 else derived_grid(row, entry) for row in rows]
    made = []
    for value, row, grid in zip(values, rows, grids, strict=True):
        packed = levels(row, entry, grid).reshape(value.shape).numpy()
        scale = grid[0].reshape(*value.shape[:-1], 1).numpy()
        if is_int8 and sums_saturate():
            packed, scale = seven_bits(packed), scale * 2
        levels_alone = ops.constant(packed) if is_int8 else ops.convert(ops.constant(packed), "i32")
        made.append(ops.multiply(ops.convert(levels_alone, "f32"), ops.constant(scale)))
    return made


def _sixteen_bit(operation: Any, entry: Mapping[str, Any]) -> list[Any]:
    return [ops.convert(ops.constant(_matrix(operation, index), dtype=TYPES[entry["precision"]]), "f32") for index in (0, 1)]


def _rounded(source: Any, low: float, high: float) -> Any:
    ends = [ops.constant(np.array(end, np.float32)) for end in (low, high, low, high)]
    return ops.fake_quantize(source, *ends, 256)


def _matrix(operation: Any, index: int) -> Floats:
    """The matrix for x (0) or for the hidden state (1), [directions, gates x hidden, inputs]."""
    return np.asarray(_constant(operation, index).data, np.float32).copy()


def _constant(operation: Any, index: int) -> Any:
    return source_beyond(operation.input_value(FIRST_MATRIX[operation.get_type_name()] + index), UNPACKING)


def _keys(layer: Recurrent) -> Iterator[tuple[int, bytes]]:
    """What identifies each layer of a recurrent layer: (depth, key)."""
    weights = {name: value.detach().numpy() for name, value in matrices(layer).items()}
    for depth in range(layer.num_layers):
        ends = ("", "_reverse") if layer.bidirectional else ("",)
        stacked = (np.stack([weights[f"weight_{part}_l{depth}{end}"] for end in ends]) for part in ("ih", "hh"))
        yield depth, _key(*stacked)


def _key(*values: Floats) -> bytes:
    """The same for the same rows in any order: the sorted rows of each direction, as bytes."""
    return b"".join(b"".join(sorted(row.tobytes() for row in direction)) for value in values for direction in value)
