"""A float model as a small, deterministic ONNX graph whose nodes carry the names of the model's layers."""

import contextlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxscript.optimizer import optimize_ir
from torch import nn

from slimline.data.batch import Batch, joined, take
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.compile.embedding_bags import with_plain_bags
from slimline.methods.compile.quiet import quiet
from slimline.methods.exported import exported, reason_of
from slimline.methods.quantize.plan import every_layer, recurrent_layers, tables

OUTPUT = "y"
"""What the one tensor is called that a model gives."""
FEWEST = 2
"""Samples that a graph with a free batch is exported with."""
LARGEST_CONSTANT = 2**31 - 1
PROJECTING = (
    "is an LSTM with projections (proj_size), of which PyTorch writes an ONNX graph that no runtime takes; "
    "put a Linear layer behind an LSTM without, or deploy it on eager or torchscript"
)
RECURRENT_OPS = ("LSTM", "GRU")
WEIGHTED_OPS = ("Conv", "Gemm", "MatMul", *RECURRENT_OPS)
LOOK_UP = "Gather"
"""What an embedding becomes."""
CHATTY = ("torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir")
SCOPES = "pkg.torch.onnx.name_scopes"
REPEATED = re.compile(r"#\d+$")


def export_onnx(model: nn.Module, example: Batch, signature: Signature) -> onnx.ModelProto:
    """Export in evaluation mode with a free batch size and free axes where the signature says that they vary.

    Inputs have their names in the batch, in the signature's order; outputs are `y`, or the names that the model gives them, in its order
    (with `_` behind a name that an input has too). Batch norms are folded into the convolutions before them.

    Nodes with a layer's weight are named after that layer (`head`, and `head#2` where it is used again, or a recurrent layer has
    more than one layer inside). An LSTM's or GRU's weights become constants of any size: by itself the exporter leaves large ones,
    above 1 MB, to be put into ONNX's order of gates in the graph.

    Raises:
        StageError: the model cannot be exported.
    """
    if projecting := [name for name, layer in recurrent_layers(model).items() if getattr(layer, "proj_size", 0)]:
        raise Impossible(f"compile: {projecting[0]!r} {PROJECTING}")
    exporters = torch.fx.GraphModule(nn.Module(), torch.fx.Graph())
    if taken := [name for name in (*model._parameters, *model._buffers, *model._modules) if hasattr(exporters, name)]:
        raise Impossible(f"compile: the model's {taken[0]!r} has a name that PyTorch's export to ONNX keeps for itself; rename it")
    ordered = {name: example[name] for name in signature.names}
    few = take(joined([ordered] * FEWEST), slice(0, FEWEST))
    try:
        with _quiet():
            found = exported(with_plain_bags(model), few, signature=signature)
            inputs, outputs = list(signature.names), output_names(signature)
            program = torch.onnx.export(found, (), dynamo=True, input_names=inputs, output_names=outputs, verbose=False)
    except Impossible as error:
        raise Impossible(f"compile: the model cannot be exported to ONNX: {error}") from error
    except torch.onnx.OnnxExporterError as error:
        raise Impossible(f"compile: the model cannot be exported to ONNX: {reason_of(error)}") from error
    if program is None:
        raise Impossible("compile: torch.onnx.export gave no program")
    if recurrent_layers(model):
        optimize_ir(program.model, input_size_limit=LARGEST_CONSTANT, output_size_limit=LARGEST_CONSTANT)
    graph_model = program.model_proto
    name_nodes(graph_model.graph, model)
    return graph_model


def output_names(signature: Signature) -> list[str]:
    """What the graph's outputs are called, in order."""
    taken = set(signature.names)
    return [f"{name}_" if name in taken else name for name in signature.outputs or (OUTPUT,)]


def layer_of(node_name: str) -> str:
    """The layer that a named node computes."""
    return REPEATED.sub("", node_name)


def layer_nodes(graph: onnx.GraphProto, layers: Iterable[str]) -> dict[str, onnx.NodeProto]:
    """The nodes with a layer's weight: node name -> node."""
    known = set(layers)
    return {node.name: node for node in graph.node if node.op_type in WEIGHTED_OPS and layer_of(node.name) in known}


def initializers(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The graph's constants by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def embedding_nodes(graph: onnx.GraphProto, layers: Iterable[str]) -> dict[str, onnx.NodeProto]:
    """The nodes that look up an embedding's rows: node name -> node."""
    known = set(layers)
    return {node.name: node for node in graph.node if node.op_type == LOOK_UP and layer_of(node.name) in known}


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Which node makes each tensor."""
    return {name: node for node in graph.node for name in node.output}


def operations(graph: onnx.GraphProto) -> dict[str, int]:
    """How many nodes of each type there are, in order of name."""
    return dict(sorted(Counter(node.op_type for node in graph.node).items()))


def constant_bytes(graph: onnx.GraphProto) -> int:
    """What the values of all constants of a slim graph take."""
    return sum(len(tensor.raw_data) for tensor in graph.initializer)


def replace_initializer(graph: onnx.GraphProto, name: str, parts: Mapping[str, np.ndarray], node: onnx.NodeProto) -> None:
    """Let `node`, which reads the tensors `parts`, make the constant `name` instead of storing it."""
    graph.initializer.remove(initializers(graph)[name])
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
    graph.node.insert(0, node)


def without_output_rounding(graph: onnx.GraphProto) -> None:
    """Take the last QuantizeLinear and DequantizeLinear before each output away: outputs on 256 levels would tie.

    A layer that reads an output goes on reading it rounded.
    """
    for name in [output.name for output in graph.output]:
        made_by = producers(graph)
        last = made_by[name]
        rounding = made_by.get(last.input[0]) if last.op_type == "DequantizeLinear" else None
        if rounding is None or rounding.op_type != "QuantizeLinear":
            continue
        exact, readers = rounding.input[0], [node for node in graph.node if name in node.input]
        if readers:
            for node in (last, *readers):
                rename(node, {name: f"{name}_rounded"})
        else:
            graph.node.remove(last)
            graph.node.remove(rounding)
        for node in graph.node:
            rename(node, {exact: name})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says of its passes and of torchvision, and torch of its own deprecations."""
    with quiet(*CHATTY), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
        yield


def name_nodes(graph: onnx.GraphProto, model: nn.Module) -> None:
    """Call the nodes that hold a layer's weights by the layer's name, which stands in what the exporter noted of each node."""
    embeddings = set(tables(model))
    layers = every_layer(model).keys() - embeddings
    seen: Counter[str] = Counter()
    constants = initializers(graph)
    for node in graph.node:
        layer = _layer_of_node(node, layers) if node.op_type in WEIGHTED_OPS else None
        if node.op_type == LOOK_UP and node.input[0] in constants:
            layer = _layer_in_scopes(node, embeddings) or _layer_of_node(node, embeddings)
        if layer is not None:
            seen[layer] += 1
            node.name = layer if seen[layer] == 1 else f"{layer}#{seen[layer]}"


def _layer_of_node(node: onnx.NodeProto, layers: Set[str]) -> str | None:
    by_weight: str | None = next((name.removesuffix(".weight") for name in node.input if name.removesuffix(".weight") in layers), None)
    if by_weight is not None:
        return by_weight
    return _layer_in_scopes(node, layers)


def _layer_in_scopes(node: onnx.NodeProto, layers: Set[str]) -> str | None:
    scopes: str = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    return next((name for name in reversed(re.findall(r"'([^']*)'", scopes)) if name in layers), None)


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Let a node read and write tensors under other names, in place."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]


def raw_bytes(tensor: onnx.TensorProto) -> bytes:
    """A constant's bytes as they are stored: two 4-bit values in one."""
    stored: bytes = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    return stored
