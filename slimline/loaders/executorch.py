"""ExecuTorch: model.pte, run by XNNPACK. Torch is imported, for its tensors carry inputs and outputs."""

from collections.abc import Mapping
from pathlib import Path

import torch
from executorch.extension.pybindings import _C as runtime  # noqa: N811 (it links against torch, which is imported before)

from slimline.artifact.compiled import CompiledManifest
from slimline.loaders import Array, Infer, Outputs, by_name, joined, pieces, writable

RUNTIME, GRAPH = "executorch", "model.pte"


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs: larger batches than it was compiled for are cut.

    The runtime's pool of threads is one for the whole process; it is made anew with as many as asked for. The binding is
    imported without executorch.runtime, which draws in the whole compiler (140 MB, seconds) for the same functions. What it
    raises is told by slimline.runtime.
    """
    runtime._unsafe_reset_threadpool(threads)
    program = runtime._load_program(str(folder / GRAPH), program_verification=runtime.Verification.InternalConsistency)
    method = program.load_method("forward")
    largest = int(manifest.execution["largest_batch"])

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        return by_name(joined([run(piece) for piece in pieces(arrays, largest)]), manifest.signature)

    def run(piece: Mapping[str, Array]) -> list[Array]:
        found = method([torch.from_numpy(writable(values)) for values in piece.values()])
        return [values.numpy().copy() for values in found]

    return infer, {"threads": str(runtime._threadpool_get_thread_count()), **manifest.execution}
