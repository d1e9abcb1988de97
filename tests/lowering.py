"""What the stage `compile` hands to a compiler and writes into a manifest, for tests of compilers alone."""

from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums
from slimline.artifact.manifest import write_manifest
from slimline.data.batch import Batch, take
from slimline.data.calling import named
from slimline.data.signature import signature_of
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.onnx_graph import export_onnx
from slimline.objectives.classification import classification
from slimline.objectives.described import described
from slimline.training.fit import predict


def samples(model: nn.Module, inputs: Tensor | Batch, *seen: Tensor | Batch) -> dict[str, Any]:
    """A compiler's example, calibration and signature, all of `inputs` [N, …]; `seen` are batches of other lengths."""
    batch = named(model, inputs)
    few = take(batch, slice(0, 2))
    signature = signature_of([batch, *(named(model, one) for one in seen)], predict(model, few))
    return {"example": few, "calibration": batch, "signature": signature}


def write_compiled(folder: Path, target: str, lowered: Lowered, given: dict[str, Any], labels: str = "0123456789", **more: Any) -> None:
    """The manifest of what a compiler has written into `folder`; `given` is what it was given."""
    identity = {"workload": "digits", "variant": "v", "target": target, "stage": "quantize", "method": "m", "source": None, "lineage": ()}
    facts = {"precision": lowered.precision, "computes": lowered.computes, "execution": lowered.execution, "files": checksums(folder)}
    read = {"signature": given["signature"], "objective": described(classification(labels)), "source_sha256": "0" * 64}
    write_manifest(folder, CompiledManifest(**identity | facts | read | more))


def graph_of(model: nn.Module, inputs: Tensor | Batch) -> onnx.ModelProto:
    """The ONNX graph of a model."""
    given = samples(model, inputs)
    return export_onnx(model, given["example"], given["signature"])
