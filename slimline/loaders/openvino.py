"""OpenVINO: model.xml and model.bin, with the plugin settings of the manifest. Torch is not imported."""

from collections.abc import Mapping
from pathlib import Path

from slimline.artifact.compiled import CompiledManifest
from slimline.loaders import Array, Infer, Outputs, by_name, writable
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

    names = [port.get_any_name() for port in compiled.inputs]
    outputs = range(len(compiled.outputs))

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        shared = [writable(arrays[name]) for name in names]  # OpenVINO reads this very memory: it has to live until infer() is over
        for index, values in enumerate(shared):
            request.set_input_tensor(index, openvino.Tensor(values, shared_memory=True))
        request.infer(share_outputs=True)  # infer(arrays) costs 25 us more a call, start_async() and wait() up to 90
        return by_name((request.get_output_tensor(index).data.copy() for index in outputs), manifest.signature)

    return infer, config
