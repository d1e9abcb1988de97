"""ONNX graphs in as few bytes as they can be read from."""

import itertools

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slimline.methods.compile.onnx_graph import raw_bytes, rename


def slim(graph_model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes the same in fewer bytes: no names, notes or inferred shapes, and equal constants stored once."""
    small = onnx.ModelProto()
    small.CopyFrom(graph_model)
    graph = small.graph
    for message in (small, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    for field in ("producer_name", "producer_version", "domain", "model_version"):
        small.ClearField(field)
    graph.ClearField("value_info")
    graph.ClearField("quantization_annotation")
    _share_constants(graph)
    _drop_unused(graph)
    _shorten_names(graph)
    domains = {node.domain for node in graph.node} | {""}
    imports = sorted((entry.domain, entry.version) for entry in small.opset_import if entry.domain in domains)
    small.ClearField("opset_import")
    small.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in imports)
    onnx.checker.check_model(small)
    return small


def _share_constants(graph: onnx.GraphProto) -> None:
    """Zero points stay apart: where weights share one, ONNX Runtime 1.31 refuses to multiply exactly (saturation.EXACT)."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    given = {value.name for value in graph.input}  # what a caller may replace is no constant
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in given and not _are_zero_points(tensor)]:
        kept = first.setdefault((tensor.data_type, tuple(tensor.dims), raw_bytes(tensor)), tensor.name)
        if kept != tensor.name:
            same[tensor.name] = kept
            graph.initializer.remove(tensor)
    for node in graph.node:
        rename(node, same)


def _are_zero_points(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_type == onnx.TensorProto.INT8 and not numpy_helper.to_array(tensor).any())


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _shorten_names(graph: onnx.GraphProto) -> None:
    kept = [value.name for value in (*graph.input, *graph.output)]
    short = {name: name for name in (*kept, "")}
    free = (name for name in (np.base_repr(number, 36) for number in itertools.count(len(short))) if name not in short)
    for node in graph.node:
        node.name = ""
        for name in (*node.input, *node.output):
            if name not in short:
                short[name] = next(free)
    for node in graph.node:
        rename(node, short)
    for tensor in graph.initializer:
        tensor.CopyFrom(helper.make_tensor(short[tensor.name], tensor.data_type, tensor.dims, raw_bytes(tensor), raw=True))
