"""Compiled variants in milliseconds, for tests of what becomes of them."""

import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums
from slimline.artifact.manifest import write_manifest
from slimline.artifact.signature import InputSignature, Signature


def compile_toy(folder, workload, name, weight, ballast):
    """A real ONNX model: logits = weight * input for 3 features; `ballast` more bytes that make it large."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    matrix = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], (np.eye(3) * weight).astype(np.float32).flatten())
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", 3]) for end in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], name, ends[:1], ends[1:], [matrix])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    (folder / "ballast.bin").write_bytes(np.random.default_rng(int(weight)).bytes(10 + ballast))
    manifest = CompiledManifest(
        workload=workload,
        variant=name,
        target="onnxruntime",
        precision="float32",
        computes="float32",
        stage="prune",
        method="magnitude",
        source="teacher",
        lineage=(name, "teacher"),
        signature=Signature(inputs=(InputSignature(name="x", dtype="float32", shape=(3,)),)),
        objective={"name": "classification", "labels": ["a", "b", "c"]},
        source_sha256="0" * 64,
        files=checksums(folder),
        versions={"onnx": onnx.__version__},
    )
    write_manifest(folder, manifest)
    return folder
