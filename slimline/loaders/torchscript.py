"""TorchScript: model.pt, frozen code and weights. Loading it may run what stands in it (see docs/operations.md)."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from slimline.artifact.compiled import CompiledManifest
from slimline.loaders import Array, Infer, Outputs, by_name, writable

RUNTIME, GRAPH = f"torch {torch.__version__}", "model.pt"


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs; what torch raises is told by slimline.runtime."""
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        read: Callable[..., Any] = torch.jit.load  # has no annotations
        network = read(folder / GRAPH, map_location="cpu")

    names = manifest.signature.outputs

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        with torch.inference_mode():
            found = network(**{name: torch.from_numpy(writable(values)) for name, values in arrays.items()})
            return by_name([found[name].numpy() for name in names] if names else [found.numpy()], manifest.signature)

    return infer, {"threads": str(threads), "precision": manifest.precision}
