"""Eager PyTorch: the workload's architecture, the structure edits replayed, the weights loaded strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.fitted import fitted
from slimline.artifact.manifest import Architecture, Packing
from slimline.artifact.signature import Signature
from slimline.artifact.weights import load_weights
from slimline.errors import ArtifactError
from slimline.loaders import Array, Infer, Outputs, by_name, writable
from slimline.workloads import Workload

RUNTIME, GRAPH = f"torch {torch.__version__}", "its weights"


def load(folder: Path, manifest: CompiledManifest, threads: int, workload: Workload) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Raises:
        ArtifactError: the manifest names no architecture, or the weights do not fit it.
    """
    if manifest.architecture is None or manifest.structure is None:
        raise ArtifactError(f"{folder}: manifest.json lacks architecture or structure, which an eager model needs; compile it again")
    return load_network(folder, workload, manifest.architecture, manifest.structure, manifest.packing, manifest.signature, threads)


def load_network(
    folder: Path,
    workload: Any,
    architecture: Architecture,
    structure: dict[str, dict[str, Any]],
    packing: Packing | None,
    signature: Signature,
    threads: int,
) -> tuple[Infer, dict[str, str]]:
    """The same for any folder with weights, plain variants included; packed weights are unpacked here."""
    model, weights = fitted(folder, workload, architecture, structure, packing)
    dtype = next((value.dtype for value in weights.values() if value.is_floating_point()), None)
    network = model.to(dtype=dtype)
    load_weights(network, weights, folder)
    return _infer(network.eval().requires_grad_(False), signature, threads)


def _infer(network: nn.Module, signature: Signature, threads: int) -> tuple[Infer, dict[str, str]]:
    torch.set_num_threads(threads)
    dtype = next((value.dtype for value in network.parameters() if value.is_floating_point()), torch.float32)

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        with torch.inference_mode():
            found = network(**{name: _as_type(torch.from_numpy(writable(values)), dtype) for name, values in arrays.items()})
            values = [found[name] for name in signature.outputs] if signature.outputs else [found]
            return by_name([_as_type(value, torch.float32).numpy() for value in values], signature)

    return infer, {"threads": str(threads), "precision": str(dtype).removeprefix("torch.")}


def _as_type(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if values.is_floating_point() else values
