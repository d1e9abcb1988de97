"""OpenVINO: model.xml and model.bin, with the plugin settings of the manifest. Torch is not imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.generating import read_generation
from slimline.artifact.signature import IDS, MASK
from slimline.errors import MachineError
from slimline.loaders import Array, Infer, Language, Outputs, by_name, of_places, writable
from slimline.methods.compile.instruction_sets import instruction_sets
from slimline.methods.compile.openvino_edits import products_in_int8
from slimline.methods.compile.saturation import SEVEN_BITS, sums_saturate
from slimline.methods.compile.signal_stack import kept_signal_stack
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import openvino  # noqa: E402

if TYPE_CHECKING:
    from slimline.data.windows import Windows
    from slimline.generation import Generator
    from slimline.generation.prompt_cache import PromptCache

LANGUAGE_GRAPH = "openvino_model.xml"
RUNTIME, GRAPH = f"openvino {openvino.__version__}", "model.xml"
_CAPABILITY = {"bf16": "BF16", "f16": "FP16"}
_GATES = ('type="Swish"', 'type="Gelu"')
"""The gate of a language model's MLP. In bfloat16 on AMX OpenVINO 2026.4 makes one kernel of the MLP, which divides by half of the threads:
in one thread the process ends without a word (https://github.com/openvinotoolkit/openvino/issues/33300)."""


@kept_signal_stack()
def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs: in float32 where the CPU lacks the manifest's 16-bit arithmetic, or would end the process.

    What OpenVINO raises is told by slimline.runtime.
    """
    core = openvino.Core()
    _require_whole_sums(core, folder / GRAPH, manifest)
    config = _settings(core, folder / GRAPH, manifest, threads)
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


@kept_signal_stack()
def load_language(folder: Path, manifest: CompiledManifest, threads: int) -> Language:
    """A language model: OpenVINO itself scores, each window with a state of its own; openvino-genai generates.

    Each loads the IR when it is first asked, for an application needs one of them.
    """
    core, facts = openvino.Core(), read_generation(folder)
    _require_whole_sums(core, folder / LANGUAGE_GRAPH, manifest)
    config = _settings(core, folder / LANGUAGE_GRAPH, manifest, threads)
    requests: list[Any] = []

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        if not requests:
            requests.append(core.compile_model(folder / LANGUAGE_GRAPH, "CPU", config).create_infer_request())
        tokens = arrays[IDS]
        positions = np.tile(np.arange(tokens.shape[1], dtype=np.int64), (len(tokens), 1))
        given = {**arrays, "position_ids": positions, "beam_idx": np.arange(len(tokens), dtype=np.int32)}
        requests[0].reset_state()
        taken = {name for port in requests[0].model_inputs for name in port.names}
        found = requests[0].infer({name: writable(values) for name, values in given.items() if name in taken}, share_outputs=True)
        return of_places(np.array(found[0]), arrays[MASK])

    def generating(windows: "Windows", cache: "PromptCache") -> "Generator":
        from slimline.generation.answers import Reader

        try:
            from slimline.generation.openvino import OpenVINOGenerator
        except ModuleNotFoundError as error:
            if error.name != "openvino_genai":
                raise
            raise MachineError(f"{folder}: generates by openvino-genai, which is not installed; pip install 'slimline[lm]'") from None
        reader = Reader(windows, facts.vocabulary, min(facts.context, windows.longest))
        return OpenVINOGenerator(folder, facts, reader, config, prefix_caching=cache.keeps)  # the engine keeps its own

    return Language(infer, config, generating, facts.vocabulary)


def _require_whole_sums(core: Any, graph: Path, manifest: CompiledManifest) -> None:
    """Refuse 8-bit weights of int8 products on a CPU where their sums saturate: what compiles there stores 7 bits.

    Raises:
        MachineError: they were compiled on another kind of CPU.
    """
    if "int8" not in manifest.computes or not sums_saturate():
        return
    if any(np.abs(one.data.astype(np.int16)).max() > SEVEN_BITS for one in products_in_int8(core.read_model(graph))):
        raise MachineError(
            f"{graph.parent}: multiplies int8 by 8-bit weights, and this CPU has neither VNNI nor AMX: the sums would saturate; compile it "
            "here, where it gets 7-bit weights, or take it on onnxruntime, which multiplies exactly"
        )


def _settings(core: Any, graph: Path, manifest: CompiledManifest, threads: int) -> dict[str, str]:
    """The manifest's settings on so many threads, in float32 where the CPU lacks its 16-bit arithmetic or OpenVINO has it wrong."""
    config = {**manifest.execution, "INFERENCE_NUM_THREADS": str(threads)}
    wanted = config["INFERENCE_PRECISION_HINT"]
    if wanted == "f32":
        return config
    is_able = _CAPABILITY[wanted] in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not is_able or (wanted == "bf16" and threads == 1 and _is_gated_on_amx(graph)):
        config |= {name: "f32" for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION") if name in config}
    return config


def _is_gated_on_amx(graph: Path) -> bool:
    return "amx_bf16" in instruction_sets() and any(gate in graph.read_text(encoding="utf-8") for gate in _GATES)
