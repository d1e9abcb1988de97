"""OpenVINO: model.xml and model.bin, with the plugin settings of the manifest. Torch is not imported."""

from pathlib import Path

from slimline.artifact.compiled import CompiledManifest
from slimline.loaders import Floats, Infer, writable
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import openvino  # noqa: E402

RUNTIME, GRAPH = f"openvino {openvino.__version__}", "model.xml"
_CAPABILITY = {"bf16": "BF16", "f16": "FP16"}


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs: in float32 where the CPU lacks the manifest's 16-bit arithmetic.

    What OpenVINO raises is told by slimline.runtime.
    """
    core = openvino.Core()
    config = {**manifest.execution, "INFERENCE_NUM_THREADS": str(threads)}
    wanted = config["INFERENCE_PRECISION_HINT"]
    if wanted != "f32" and _CAPABILITY[wanted] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        config["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(folder / GRAPH, "CPU", config)
    request = compiled.create_infer_request()

    def infer(batch: Floats) -> Floats:
        shared = writable(batch)  # OpenVINO reads this very memory: it has to live until infer() is over
        request.set_input_tensor(openvino.Tensor(shared, shared_memory=True))
        request.infer(share_outputs=True)  # infer(batch) costs 25 us more a call, start_async() and wait() up to 90
        outputs: Floats = request.get_output_tensor(0).data.copy()
        return outputs

    return infer, config
