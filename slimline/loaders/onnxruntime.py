"""ONNX Runtime: model.onnx, run as we set it and not as a manifest may say. Torch is not imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.generating import read_generation
from slimline.artifact.signature import IDS, MASK
from slimline.errors import MachineError
from slimline.loaders import Array, Infer, Language, Outputs, by_name, of_places
from slimline.methods.compile.saturation import multiply_exactly
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import onnxruntime  # noqa: E402
from onnxruntime.capi.onnxruntime_pybind11_state import Fail as _Refused  # noqa: E402

if TYPE_CHECKING:
    from slimline.data.windows import Windows
    from slimline.generation import Generator
    from slimline.generation.prompt_cache import PromptCache

SILENT = 4  # what is wrong is raised as well
SHARED = "Attempt to replace the existing tensor"
"""ONNX Runtime's words where layers share the levels that it would write anew to multiply exactly (see onnx_saturation.py)."""
RUNTIME, GRAPH = f"onnxruntime {onnxruntime.__version__}", "model.onnx"


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs; what ONNX Runtime raises is told by slimline.runtime."""
    session = _session(folder, threads)

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        return by_name(session.run(None, arrays), manifest.signature)

    return infer, {"threads": str(threads)}


def load_language(folder: Path, manifest: CompiledManifest, threads: int) -> Language:  # noqa: ARG001 (uniform signature)
    """A language model: one session both scores, without earlier tokens, and generates."""
    from slimline.generation.onnxruntime import OnnxNet

    facts = read_generation(folder)
    net = OnnxNet(_session(folder, threads), facts)

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        tokens = arrays[IDS]
        positions = np.tile(np.arange(tokens.shape[1], dtype=np.int64), (len(tokens), 1))
        return of_places(net.all_logits(tokens, arrays[MASK], positions, None)[0], arrays[MASK])

    def generating(windows: "Windows", cache: "PromptCache") -> "Generator":
        from slimline.generation.answers import Reader
        from slimline.generation.stepwise import Stepwise

        return Stepwise(net, Reader(windows, facts.vocabulary, min(facts.context, windows.longest)), cache)

    return Language(infer, {"threads": str(threads)}, generating, facts.vocabulary)


def _session(folder: Path, threads: int) -> Any:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = SILENT
    multiply_exactly(options)
    try:
        return onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])
    except _Refused as error:
        if SHARED not in str(error):
            raise
        raise MachineError(
            f"{folder}: its layers share 8-bit weights, which ONNX Runtime cannot multiply exactly on this CPU without VNNI and AMX; "
            "compile it here, where it gets 7-bit weights"
        ) from None
