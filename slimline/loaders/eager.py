"""Eager PyTorch: the workload's architecture, the structure edits replayed, the weights loaded strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from slimline.artifact.closed import closed
from slimline.artifact.fitted import fitted
from slimline.artifact.manifest import Architecture, Packing
from slimline.artifact.signature import Signature
from slimline.artifact.weights import load_weights
from slimline.loaders import Array, Infer, Language, Outputs, by_name, writable

if TYPE_CHECKING:
    from slimline.data.windows import Windows
    from slimline.generation import Generator
    from slimline.generation.prompt_cache import PromptCache

RUNTIME, GRAPH = f"torch {torch.__version__}", "its weights"


def load_network(
    folder: Path,
    workload: Any,
    architecture: Architecture,
    structure: dict[str, dict[str, Any]],
    packing: Packing | None,
    signature: Signature,
    threads: int,
) -> tuple[Infer, dict[str, str]]:
    """The model of any folder with weights as a function, plain variants included, and how it runs; packed weights are unpacked here.

    Raises:
        ArtifactError: the weights do not fit the architecture.
    """
    return _infer(_network(folder, workload, architecture, structure, packing), signature, threads)


def load_language(
    folder: Path,
    workload: Any,
    architecture: Architecture,
    structure: dict[str, Any],
    packing: Packing | None,
    signature: Signature,
    threads: int,
) -> Language:
    """A language model: the same net scores and generates.

    Raises:
        ArtifactError: the weights do not fit the architecture.
    """
    network = _network(folder, workload, architecture, structure, packing)
    infer, execution = _infer(network, signature, threads)

    def generating(windows: "Windows", cache: "PromptCache") -> "Generator":
        from slimline.generation.eager import generator_of

        return generator_of(network, windows, cache)

    body: Any = closed(cast("nn.Module", network.body))
    return Language(infer, execution, generating, int(body.config.vocab_size))


def _network(
    folder: Path, workload: Any, architecture: Architecture, structure: dict[str, dict[str, Any]], packing: Packing | None
) -> nn.Module:
    model, weights = fitted(folder, workload, architecture, structure, packing)
    dtype = next((value.dtype for value in weights.values() if value.is_floating_point()), None)
    network = model.to(dtype=dtype)
    load_weights(network, weights, folder)
    return network.eval().requires_grad_(False)


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
