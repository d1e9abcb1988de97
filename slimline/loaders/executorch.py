"""ExecuTorch: model.pte, run by XNNPACK. Torch is imported, for its tensors carry inputs and outputs."""

from pathlib import Path

import numpy as np
import torch
from executorch.extension.pybindings import _C as runtime  # noqa: N811 (it links against torch, which is imported before)

from slimline.artifact.compiled import CompiledManifest
from slimline.loaders import Floats, Infer, writable

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

    def infer(batch: Floats) -> Floats:
        whole = torch.from_numpy(writable(batch))
        logits: list[Floats] = [method([piece])[0].numpy().copy() for piece in torch.split(whole, largest)]
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    return infer, {"threads": str(runtime._threadpool_get_thread_count()), **manifest.execution}
