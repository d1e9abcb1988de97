"""AOTInductor: model.pt2, machine code for the kind of CPU that it was compiled on. Loading it runs it (see docs/operations.md)."""

from collections.abc import Mapping
from pathlib import Path

import torch

from slimline.artifact.compiled import CompiledManifest
from slimline.errors import ArtifactError
from slimline.loaders import Array, Infer, Outputs, by_name, writable
from slimline.methods.compile.inductor_build import open_package
from slimline.methods.compile.instruction_sets import instruction_sets

RUNTIME, GRAPH = f"torch {torch.__version__}", "model.pt2"


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Raises:
        ArtifactError: this CPU lacks instructions that the code was compiled for.
    """
    if lacking := [name for name in manifest.execution["instruction_sets"].split() if name not in instruction_sets()]:
        raise ArtifactError(
            f"{folder}: is machine code for a CPU with {', '.join(lacking)}, which this one lacks; compile it here, or take onnxruntime"
        )
    torch.set_num_threads(threads)
    run = open_package(folder / GRAPH)

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        with torch.inference_mode():
            found = run([torch.from_numpy(writable(values)) for values in arrays.values()])
            return by_name([values.numpy() for values in found], manifest.signature)

    return infer, {"threads": str(threads), **manifest.execution}
