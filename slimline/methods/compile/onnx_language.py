"""Compile a language model for ONNX Runtime: one graph with past keys and values, in the form that onnxruntime-genai loads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
from onnx import helper, numpy_helper
from torch import Tensor, nn
from transformers.exporters import OnnxConfig, OnnxExporter

from slimline.artifact.generating import write_generation
from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.compile import onnxruntime as plain
from slimline.methods.compile.genai_config import write_genai_config
from slimline.methods.compile.language_export import exported_with_cache, generation_facts, quieted, require_free_ranges
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.onnx_graph import SCOPES, constant_bytes, initializers, name_nodes, operations, producers
from slimline.methods.compile.onnx_slim import slim
from slimline.methods.compile.onnx_weights import stored_layers
from slimline.methods.quantize.plan import Plan, smallest_precision

MODEL = "model.onnx"
UNEVEN = "Layers differ in their heads, so onnxruntime-genai does not load the folder; slimline.runtime does."
LARGEST_BYTES = 2**31 - 1
"""Of one protobuf message, which a model is."""
LOGITS, TOLD_FROM = "logits", "logits_from"
"""The output, and the input that says from which place on it is wanted."""
BODY = "body."
"""Where the net of transformers stands in ours."""
PORTS = {
    "input.cache.layers.{}.keys": "past_key_values.{}.key",
    "input.cache.layers.{}.values": "past_key_values.{}.value",
    "output.cache.layers.{}.keys": "present.{}.key",
    "output.cache.layers.{}.values": "present.{}.value",
}
"""What the exporter calls keys and values -> what onnxruntime-genai calls them."""


def onnx_language(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    example: Batch,  # noqa: ARG001 (the exporter traces its own)
    calibration: Batch,
    signature: Signature,  # noqa: ARG001
    batch_sizes: tuple[int, ...] = (),  # noqa: ARG001
) -> Lowered:
    """Write model.onnx into `folder`: tokens and past keys and values -> logits and present ones, weights as the plan says.

    The layers are those of the live net; tied weights are one constant.

    Raises:
        Impossible: the net cannot be exported, the plan has layers with fixed input ranges, or the graph is larger than a file of ONNX.
    """
    require_free_ranges(plan)
    exported = exported_graph(model)
    before = operations(exported.graph)
    float_weights = sum(len(tensor.raw_data) for tensor in exported.graph.initializer)
    lowered, notes = (exported, ()) if plan is None else plain.lower(exported, model, plan, grids, calibration)
    stored = () if plan is None else stored_layers(lowered.graph, plan)
    final = slim(lowered)
    onnx.save(final, folder / MODEL)
    facts = generation_facts(model)
    write_generation(folder, facts)
    body: Any = model.body
    is_uniform = write_genai_config(folder, MODEL, facts, body.config)
    return Lowered(
        precision="float32" if plan is None else smallest_precision(plan),
        computes=plain.arithmetic_of(plan),
        layers=stored,
        weight_bytes=constant_bytes(final.graph),
        float32_weight_bytes=float_weights,
        float32_bytes=float_weights + final.ByteSize() - constant_bytes(final.graph),
        operations_before=before,
        operations_after=plain.optimised_operations(final),
        notes=(*notes, *(() if is_uniform else (UNEVEN,))),
    )


def exported_graph(model: nn.Module) -> onnx.ModelProto:
    """The float32 graph, its ports and layers named, tied weights stored once.

    Raises:
        Impossible: it cannot be exported, or takes more bytes than a file of ONNX can.
    """
    weights = sum(value.nbytes for value in {value.data_ptr(): value for value in model.state_dict().values()}.values())
    if weights >= LARGEST_BYTES:
        raise Impossible(f"compile: its weights take {weights:,} bytes in float32, a file of ONNX at most {LARGEST_BYTES:,}; use openvino")
    with quieted():
        graph_model = onnx_ir.to_proto(exported_with_cache(model, OnnxExporter(), OnnxConfig))
    graph = graph_model.graph
    _name_ports(graph)
    _turn_tied(graph)
    _tell_from(graph)
    for node in graph.node:
        for entry in node.metadata_props:
            if entry.key == SCOPES:
                entry.value = entry.value.replace("'", f"'{BODY}").replace(f"'{BODY}]", "']").replace(f"'{BODY},", "',")
    name_nodes(graph, model)
    return graph_model


def _name_ports(graph: onnx.GraphProto) -> None:
    """Keys and values by the names that onnxruntime-genai looks for, with free sizes where the exporter writes them as symbols."""
    names = [value.name for value in (*graph.input, *graph.output)]
    layers = range(len(names))
    renamed = {old.format(layer): new.format(layer) for old, new in PORTS.items() for layer in layers}
    for value in (*graph.input, *graph.output):
        value.name = renamed.get(value.name, value.name)
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param.isdigit():
                dimension.dim_value = int(dimension.dim_param)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def _turn_tied(graph: onnx.GraphProto) -> None:
    """Let a node turn the weight that another one reads straight, where the exporter has stored it twice."""
    constants = {name: tensor for name, tensor in initializers(graph).items() if len(tensor.dims) == 2 and _raw_bytes(tensor) > 4096}
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather" and node.input[0] in constants}
    for name, tensor in constants.items():
        for table in tables - {name}:
            if list(constants[table].dims) == list(tensor.dims)[::-1] and np.array_equal(
                numpy_helper.to_array(constants[table]).T, numpy_helper.to_array(tensor)
            ):
                graph.initializer.remove(tensor)
                graph.node.insert(0, helper.make_node("Transpose", [table], [name], perm=[1, 0], name=f"{name}_turned"))
                break


def _tell_from(graph: onnx.GraphProto) -> None:
    """Give logits of the places from TOLD_FROM on, 0 unless the caller gives another: of a prompt only the last one is needed.

    The head of a small net is a fifth of its arithmetic. An input with a value of its own is one that onnxruntime-genai need not know.
    """
    made_by, name = producers(graph), LOGITS
    while (node := made_by.get(name)) is not None and node.op_type != "MatMul":
        name = node.input[0]
    if node is None:
        return
    hidden = node.input[0]
    parts = {TOLD_FROM: 0, f"{TOLD_FROM}_end": np.iinfo(np.int64).max, f"{TOLD_FROM}_axis": 1}
    graph.initializer.extend(numpy_helper.from_array(np.array([value], np.int64), part) for part, value in parts.items())
    graph.input.append(helper.make_tensor_value_info(TOLD_FROM, onnx.TensorProto.INT64, [1]))
    taken = helper.make_node("Slice", [hidden, *parts], [f"{hidden}_told"], name=f"{TOLD_FROM}_slice")
    graph.node.insert(list(graph.node).index(node), taken)
    node.input[0] = taken.output[0]
    logits = next(value for value in graph.output if value.name == LOGITS)
    logits.type.tensor_type.shape.dim[1].dim_param = TOLD_FROM


def _raw_bytes(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data)
