"""Graphs that do not fit their manifest, are cut short, or reach out of their folder."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from honest_artifacts import CLASSES, WIDTH, say
from onnx import TensorProto, helper

INT64 = TensorProto.INT64
Alter = Callable[[Path], None]
GRAPHS = {
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "torchscript": "model.pt",
    "xla": "model.stablehlo",
    "executorch": "model.pte",
}


def spoilt() -> Iterator[tuple[str, str, Alter]]:
    """(target, name, alteration) of every target's graph file: cut, empty, noise, another's."""
    for target, graph in GRAPHS.items():
        yield target, "cut", lambda folder, graph=graph: _rewrite(folder / graph, lambda data: data[: len(data) // 2])
        yield target, "empty", lambda folder, graph=graph: _rewrite(folder / graph, lambda _: b"")
        yield target, "noise", lambda folder, graph=graph: _rewrite(folder / graph, lambda _: bytes(range(256)) * 40)
        yield target, "text", lambda folder, graph=graph: _rewrite(folder / graph, lambda _: b"not a model\n" * 9)
    yield "openvino", "weights cut", lambda folder: _rewrite(folder / "model.bin", lambda data: data[:10])
    yield (
        "openvino",
        "a shape of 10 GB",
        lambda folder: _rewrite(folder / "model.xml", lambda data: data.replace(b'shape="', b'shape="99999999, ')),
    )
    yield "openvino", "other rank", lambda folder: say(folder, input_shape=[1, WIDTH])


def facts() -> Iterator[tuple[str, Alter]]:
    """Manifests of an ONNX Runtime model that say something else than the graph."""
    yield "fewer labels", lambda folder: say(folder, labels=["one"])
    yield "no labels", lambda folder: say(folder, labels=[])
    yield "more labels", lambda folder: say(folder, labels=[str(number) for number in range(11)])
    yield "other inputs", lambda folder: say(folder, input_shape=[31])
    yield "another rank", lambda folder: say(folder, input_shape=[1, WIDTH])
    yield "a shape without end", lambda folder: say(folder, input_shape=[10**30])
    for target in ("openvino", "xla", "executorch", "eager"):
        yield f"target {target}", lambda folder, target=target: say(folder, target=target)


def onnx_graphs() -> Iterator[tuple[str, Alter]]:
    """ONNX graphs that are valid or nearly so, and not what the manifest says."""
    logits = [CLASSES]
    named: dict[str, onnx.ModelProto] = {
        "no input": _model([], [_value("y", ["n", *logits])], [_constant()]),
        "two inputs": _model([_value("x", ["n", WIDTH]), _value("z", ["n", WIDTH])], [_value("y", ["n", WIDTH])], [_node("Add", "x", "z")]),
        "no output": _model([_value("x", ["n", WIDTH])], [], [_node("Relu", "x")]),
        "other width": _model([_value("x", ["n", 7])], [_value("y", ["n", 7])], [_node("Relu", "x")]),
        "one sample alone": _model([_value("x", [1, WIDTH])], [_value("y", [1, WIDTH])], [_node("Relu", "x")]),
        "whole numbers": _model([_value("x", ["n", WIDTH], INT64)], [_value("y", ["n", WIDTH], INT64)], [_node("Neg", "x")]),
        "gives its input": _model([_value("x", ["n", WIDTH])], [_value("y", ["n", WIDTH])], [_node("Relu", "x")]),
        "gives text": _model([_value("x", ["n", WIDTH])], [_value("y", ["n", WIDTH], TensorProto.STRING)], [_cast(TensorProto.STRING)]),
        "gives one number": _model([_value("x", ["n", WIDTH])], [_value("y", [])], [_node("ReduceSum", "x", keepdims=0)]),
        "an operator that is none": _model([_value("x", ["n", WIDTH])], [_value("y", ["n", 2])], [_node("Exec", "x")]),
        "another's operators": _model([_value("x", ["n", WIDTH])], [_value("y", ["n", 2])], [_node("Run", "x", domain="evil")]),
        "opset 999": _model([_value("x", ["n", WIDTH])], [_value("y", ["n", WIDTH])], [_node("Relu", "x")], opset=999),
        "values beyond the file": _weighted(onnx.TensorProto(name="w", data_type=1, dims=[1 << 30, 4], raw_data=bytes(64))),
        "values below 0": _weighted(onnx.TensorProto(name="w", data_type=1, dims=[-30, 2], raw_data=bytes(240))),
        "values elsewhere": _weighted(_external("/etc/hostname")),
        "values above": _weighted(_external("../../batch.npy")),
        "values in a device": _weighted(_external("/dev/zero")),
        "values nowhere": _weighted(_external("none.bin")),
    }
    for name, model in named.items():
        yield name, lambda folder, model=model: _rewrite(folder / "model.onnx", lambda _: model.SerializeToString())


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()) if path.exists() else change(b""))


def _value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _node(kind: str, *inputs: str, **options: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, ["y"], **options)


def _cast(kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", ["x"], ["y"], to=kind)


def _constant() -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], value=helper.make_tensor("c", TensorProto.FLOAT, [1, CLASSES], [0.0] * CLASSES))


def _model(inputs: list[Any], outputs: list[Any], nodes: list[Any], *, opset: int = 18, values: tuple[Any, ...] = ()) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "altered", inputs, outputs, initializer=values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("evil", 1)], ir_version=10)


def _weighted(tensor: onnx.TensorProto) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return _model([_value("x", ["n", WIDTH])], [_value("y", ["n", CLASSES])], nodes, values=(tensor,))


def _external(place: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[WIDTH, CLASSES], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    return tensor
