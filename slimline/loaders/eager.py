"""Eager PyTorch: the workload's architecture, the structure edits replayed, the weights loaded strictly."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.fitted import fitted
from slimline.artifact.manifest import Architecture, Packing
from slimline.artifact.weights import load_weights
from slimline.errors import ArtifactError
from slimline.loaders import Floats, Infer, writable
from slimline.workloads import Workload

RUNTIME, GRAPH = f"torch {torch.__version__}", "its weights"


def load(folder: Path, manifest: CompiledManifest, threads: int, workload: Workload) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Raises:
        ArtifactError: the manifest names no architecture, or the weights do not fit it.
    """
    if manifest.architecture is None or manifest.structure is None:
        raise ArtifactError(f"{folder}: manifest.json lacks architecture or structure, which an eager model needs; compile it again")
    return load_network(folder, workload, manifest.architecture, manifest.structure, threads, manifest.packing)


def load_network(
    folder: Path, workload: Any, architecture: Architecture, structure: dict[str, dict[str, Any]], threads: int, packing: Packing | None
) -> tuple[Infer, dict[str, str]]:
    """The same for any folder with weights, plain variants included; packed weights are unpacked here."""
    model, weights = fitted(folder, workload, architecture, structure, packing)
    dtype = next((value.dtype for value in weights.values() if value.is_floating_point()), None)
    network = model.to(dtype=dtype)
    load_weights(network, weights, folder)
    return _infer(network.eval().requires_grad_(False), threads)


def _infer(network: nn.Module, threads: int) -> tuple[Infer, dict[str, str]]:
    torch.set_num_threads(threads)
    dtype = next((value.dtype for value in network.parameters()), torch.float32)

    def infer(batch: Floats) -> Floats:
        with torch.inference_mode():
            outputs: Floats = network(torch.from_numpy(writable(batch)).to(dtype)).float().numpy()
        return outputs

    return infer, {"threads": str(threads), "precision": str(dtype).removeprefix("torch.")}
