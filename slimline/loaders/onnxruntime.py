"""ONNX Runtime: model.onnx, run as we set it and not as a manifest may say. Torch is not imported."""

from pathlib import Path

from slimline.artifact.compiled import CompiledManifest
from slimline.errors import ArtifactError
from slimline.loaders import Floats, Infer
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import onnxruntime  # noqa: E402
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NotImplemented  # noqa: E402


def load(folder: Path, _manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Raises:
        ArtifactError: this version of ONNX Runtime cannot load the graph.
    """
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NotImplemented) as error:
        raise ArtifactError(f"{folder}: onnxruntime {onnxruntime.__version__} cannot load model.onnx: {error}") from error
    name = session.get_inputs()[0].name

    def infer(batch: Floats) -> Floats:
        outputs: Floats = session.run(None, {name: batch})[0]
        return outputs

    return infer, {"threads": str(threads)}
