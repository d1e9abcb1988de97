"""A variant's model, built within what its weights and the workload's teacher take: nothing else that a manifest asks for is made.

Everything is built on `meta` first, where tensors have shapes and no memory, and held to the header of the file of weights. A builder
that reads the values it has just made cannot be run there; it is then run for real, each tensor counted before it is made.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from slimline.artifact.allowance import SPARE_BYTES, Allowance
from slimline.artifact.border import attempted, told_as
from slimline.artifact.manifest import Architecture, Packing
from slimline.artifact.packed import read_stored, stored_path
from slimline.artifact.plain_weights import make_plain_
from slimline.artifact.structure import Spec, replay
from slimline.artifact.weight_header import Kind, stored_kinds
from slimline.artifact.weights import kinds_of, require_fit
from slimline.errors import ArtifactError

MOST_LAYERS = 10_000
"""That edits may name: a layer without tensors takes a few kB as well."""
LONGEST = 100
"""Characters of a student's config that are shown."""


class Builds(Protocol):
    """The part of a workload that an artifact needs: its two architectures."""

    name: str

    def build_teacher(self) -> nn.Module:
        """The uncompressed architecture, untrained."""

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """A smaller architecture, untrained."""


class Size(NamedTuple):
    """What a model's parameters and buffers take, and how many there are."""

    size_bytes: int
    tensors: int


def build_architecture(workload: Builds, architecture: Architecture) -> nn.Module:
    """The workload's untrained model that the structure edits are relative to, its weights plain."""
    is_student = architecture.role == "student"
    model = workload.build_student(dict(architecture.config)) if is_student else workload.build_teacher()
    make_plain_(model)
    return model


def fitted(
    folder: Path, workload: Builds, architecture: Architecture, structure: Mapping[str, Spec], packing: Packing | None
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model with its edits made, new layers full of zeros, and the stored weights that fit it.

    Raises:
        ArtifactError: a file is missing or damaged, the edits do not fit, the weights differ in name, shape or type, or the manifest
            asks for more than there is in the file or in the workload's teacher.
    """
    path, asked = stored_path(folder, packing), f"{folder}: manifest.json: architecture {_short(architecture.config)}"
    found = stored_kinds(path)
    build_teacher = partial(build_architecture, workload, Architecture())
    sketch = _sketched(build_teacher)
    teacher = _size(sketch if sketch is not None else build_teacher())
    allowed = Size(max(teacher.size_bytes, path.stat().st_size), teacher.tensors + len(found))
    bounded: Callable[[], AbstractContextManager[Any]] = nullcontext
    if architecture.role == "student":
        bounded = partial(Allowance, asked, allowed.tensors, allowed.size_bytes)
        with Allowance(asked, allowed.tensors):
            sketch = _sketched(partial(build_architecture, workload, architecture))
    if sketch is not None:
        _edited(folder, sketch, structure, found, allowed)
    with told_as(lambda reason: ArtifactError(f"{asked} does not build: {reason}")), bounded():
        whole = build_architecture(workload, architecture)
    if kept := [name for name, value in chain(whole.named_parameters(), whole.named_buffers()) if value.is_meta]:
        raise ArtifactError(
            f"workload {workload.name!r}: builds {kept[0]!r} of a tensor that it kept from an earlier model, which had no memory; "
            "make it anew in each (no functools.cache around it)"
        )
    model = _edited(folder, whole, structure, found, allowed)
    _fill_(model)
    return model, read_stored(folder, packing)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _edited(folder: Path, architecture: nn.Module, structure: Mapping[str, Spec], found: Mapping[str, Kind], allowed: Size) -> nn.Module:
    """The edits made, new layers on `meta`; held to the tensors of the file."""
    if (count := sum(1 for _ in _layers(structure))) > MOST_LAYERS:
        raise ArtifactError(f"{folder}: manifest.json: structure names {count:,} layers, at most {MOST_LAYERS:,} are read")
    with Allowance(f"{folder}: manifest.json: structure", allowed.tensors), torch.device("meta"):
        model = replay(architecture, structure)
    require_fit(kinds_of(model.state_dict()), found, folder)
    if _size(model).size_bytes > allowed.size_bytes + SPARE_BYTES:
        raise ArtifactError(
            f"{folder}: manifest.json asks for {_size(model).size_bytes:,} bytes of weights, more than its file holds "
            f"or the workload's teacher has ({allowed.size_bytes:,}); do not trust this artifact"
        )
    return model


def _layers(structure: Mapping[str, Any]) -> Iterator[Any]:
    """Every spec, those inside others too."""
    left: list[Any] = list(structure.values())
    while left:
        spec = left.pop()
        yield spec
        children = spec.get("children") if isinstance(spec, dict) else None
        left += children.values() if isinstance(children, dict) else ()


def _sketched(build: Callable[[], nn.Module]) -> nn.Module | None:
    """The model on `meta`; None where it cannot be built there."""
    with attempted(), torch.device("meta"):
        return build()
    return None


def _size(model: nn.Module) -> Size:
    values = list(chain(model.parameters(), model.buffers()))
    return Size(sum(value.numel() * value.itemsize for value in values), len(values))


def _fill_(model: nn.Module) -> None:
    """Give the tensors on `meta` memory, full of zeros."""
    for module in model.modules():
        for name, value in list(chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))):
            if value.is_meta:
                fresh = torch.zeros(value.shape, dtype=value.dtype)
                is_trained = isinstance(value, nn.Parameter)
                setattr(module, name, nn.Parameter(fresh, requires_grad=value.requires_grad) if is_trained else fresh)
