"""What XNNPACK was handed: the operations and number types of the graphs inside an ExecuTorch program."""

import importlib.resources
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import fx

from slimline.methods.compile.lowered import arithmetic

TYPES = {"fp32": "float32", "fp16": "float16", "qint8": "int8", "qcint8": "int8", "qdint8": "int8 ranged while running"}
UNBOUNDED = re.compile(r"(?<=: )([+-]?(?:inf|nan))\b")
"""What flatc writes for a ReLU's upper end, and JSON does not know."""
PRODUCTS = ("Conv2d", "DepthwiseConv2d", "FullyConnected", "ConvTranspose2d")


def running_operations(program: Any) -> dict[str, int]:
    """How many operations of each kind run, of an ExportedProgram after lowering: XNNPACK's with the type that they read.

    What was not handed to XNNPACK is run by ExecuTorch's own kernels, which compute one element after the other.
    """
    found: Counter[str] = Counter()
    for graph in _delegates(program):
        found.update(f"{kind} {read}" for kind, read in _operations(graph))
    left = (str(node.target) for node in program.graph.nodes if node.op == "call_function")
    found.update(f"{name.split('.')[-2]} (not in XNNPACK)" for name in left if "aten" in name or "quantized_decomposed" in name)
    return dict(sorted(found.items()))


def computed_types(operations: Mapping[str, int]) -> str:
    """The types in which layers compute."""
    return arithmetic(name.partition(" ")[2].partition(" ")[0] for name in operations if name.startswith(PRODUCTS))


def _delegates(program: Any) -> Iterator[dict[str, Any]]:
    """The graphs for XNNPACK, as their flatbuffers' JSON."""
    for node in program.graph.nodes:
        if node.op == "get_attr" and node.name.startswith("lowered_module"):
            yield _decoded(getattr(program.graph_module, node.target).processed_bytes)


def _decoded(payload: bytes) -> dict[str, Any]:
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
    schema = importlib.resources.files("executorch.backends.xnnpack.serialization") / "schema.fbs"
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        (Path(place) / "schema.fbs").write_bytes(schema.read_bytes())
        (Path(place) / "graph.bin").write_bytes(payload[header.flatbuffer_offset :][: header.flatbuffer_size])
        _flatc_decompile(place, f"{place}/schema.fbs", f"{place}/graph.bin", ["--raw-binary"])
        graph: dict[str, Any] = json.loads(UNBOUNDED.sub(r'"\1"', (Path(place) / "graph.json").read_text(encoding="utf-8")))
    return graph


def _operations(graph: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    types = {}
    for value in graph["xvalues"]:
        tensor = value["xvalue_union"]
        tensor = tensor.get("tensor_value", tensor)
        types[tensor["id_out"]] = tensor["datatype"].removeprefix("xnn_datatype_")
    for node in graph["xnodes"]:
        details = node["xnode_union"]
        first = details.get("input1_id", details.get("input_id"))
        read = types.get(first, "")
        yield node["xnode_union_type"].removeprefix("XNN"), TYPES.get(read, read)


def left_out(program: Any) -> set[str]:
    """The names of weights that stay outside of XNNPACK's graphs."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {names[node.name] for node in program.graph.nodes if node.name in names and node.users}


def exported_operations(graph: fx.Graph) -> dict[str, int]:
    """How many operations of each kind a graph of torch.export has."""
    names = (str(node.target) for node in graph.nodes if node.op == "call_function")
    return dict(sorted(Counter(name.split(".")[-2] for name in names if "." in name).items()))
