"""ONNX Runtime: model.onnx, run as we set it and not as a manifest may say. Torch is not imported."""

from collections.abc import Mapping
from pathlib import Path

from slimline.artifact.compiled import CompiledManifest
from slimline.loaders import Array, Infer, Outputs, by_name
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import onnxruntime  # noqa: E402

SILENT = 4  # what is wrong is raised as well
RUNTIME, GRAPH = f"onnxruntime {onnxruntime.__version__}", "model.onnx"


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs; what ONNX Runtime raises is told by slimline.runtime."""
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = SILENT
    session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        return by_name(session.run(None, arrays), manifest.signature)

    return infer, {"threads": str(threads)}
