"""One ONNX export a model, which takes a second, for every lowering of it by the two compilers that start from one."""

import contextlib
import hashlib
import importlib
from collections.abc import Iterator

import onnx
import pytest
from torch import nn

from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.methods.compile.onnx_graph import export_onnx

COMPILERS = ("onnxruntime", "openvino")


@contextlib.contextmanager
def shared_exports() -> Iterator[None]:
    """Meanwhile, models of equal structure and weights are exported once; each compiler is given a copy of that graph."""
    known: dict[str, onnx.ModelProto] = {}

    def export(model: nn.Module, example: Batch, signature: Signature) -> onnx.ModelProto:
        identity = _identity(model, signature)
        if identity not in known:
            known[identity] = export_onnx(model, example, signature)
        copied = onnx.ModelProto()
        copied.CopyFrom(known[identity])
        return copied

    with pytest.MonkeyPatch.context() as patch:
        for name in COMPILERS:
            patch.setattr(importlib.import_module(f"slimline.methods.compile.{name}"), "export_onnx", export)
        yield


def _identity(model: nn.Module, signature: Signature) -> str:
    state = hashlib.sha256(f"{model}{signature}".encode())
    for name, value in sorted(model.state_dict().items()):
        state.update(name.encode() + value.numpy().tobytes())
    return state.hexdigest()
