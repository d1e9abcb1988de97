"""TorchScript: model.pt, frozen code and weights. Loading it may run what stands in it (see docs/operations.md)."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from slimline.artifact.compiled import CompiledManifest
from slimline.errors import ArtifactError
from slimline.loaders import Floats, Infer, writable


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Raises:
        ArtifactError: this version of torch cannot load the file.
    """
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            read: Callable[..., Any] = torch.jit.load  # has no annotations
            network = read(folder / "model.pt", map_location="cpu")
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{folder}: torch {torch.__version__} cannot load model.pt: {reason}") from error

    def infer(batch: Floats) -> Floats:
        with torch.inference_mode():
            outputs: Floats = network(torch.from_numpy(writable(batch))).numpy()
        return outputs

    return infer, {"threads": str(threads), "precision": manifest.precision}
