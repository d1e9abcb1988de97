"""Weights as safetensors: written, read, held to a model; a pickle is refused unread."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn

from slimline.artifact.border import told_as
from slimline.artifact.weight_header import FILES, FLOATS, PICKLE_ENDINGS, TIED, Kind, read_header, stored_kinds
from slimline.errors import ArtifactError

WEIGHTS = FILES["none"]
PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, those that share their memory (tied weights) once. Python writes the bytes, so that a full disk is an
    OSError as everywhere else.

    Raises:
        OSError: the disk is full or not writable.
    """
    tied = _tied(tensors)
    plain = plain_tensors({name: value for name, value in tensors.items() if name not in tied})
    path.write_bytes(save(plain, metadata={TIED: json.dumps(tied, sort_keys=True)} if tied else None))


def _tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Every name whose numbers lie where those of an earlier name do -> that one."""
    first: dict[tuple[object, ...], str] = {}
    for name, value in tensors.items():
        if value.numel():
            first.setdefault((value.data_ptr(), value.dtype, value.shape, value.stride()), name)
    places = {name: (value.data_ptr(), value.dtype, value.shape, value.stride()) for name, value in tensors.items()}
    return {name: first[place] for name, place in places.items() if first.get(place, name) != name}


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that safetensors takes: without gradients, contiguous, sharing no memory."""
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ArtifactError: the file is missing, cut short, or a pickle (which is refused unread).
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    with told_as(lambda reason: ArtifactError(f"{path}: is no whole safetensors file ({reason}); it may be cut short, fetch it again")):
        refuse_pickle(path)
        with path.open("rb") as stream:
            tied = read_header(stream).tied
        found = load_file(path)
        return found | {name: found[one] for name, one in tied.items()}


def refuse_pickle(path: Path) -> None:
    """Look at a file's ending and first bytes, and refuse a pickle unread.

    Raises:
        ArtifactError: it is a pickle; the message says how to convert it.
    """
    with path.open("rb") as stream:
        head = stream.read(9)
    is_safetensors = head[8:] == b"{"  # after the header's length, whose first bytes can be any: 1152 looks like a pickle's
    if path.suffix in PICKLE_ENDINGS or (head.startswith(PICKLE_MAGIC) and not is_safetensors):
        raise ArtifactError(
            f"{path}: is a pickle, which can run any code when loaded, so it is refused unread; "
            "docs/operations.md, 'Convert a pickle', shows how to make a safetensors file of it"
        )


def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: Path) -> None:
    """Put weights into a model, strictly.

    Raises:
        ArtifactError: names, shapes or types differ; the message counts them and shows the first.
    """
    require_fit(kinds_of(model.state_dict()), kinds_of(weights), origin)
    model.load_state_dict(weights, strict=True)


def read_fitting(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors of a plain safetensors file, read only if its header has the names, shapes and types of the model's.

    Raises:
        ArtifactError: the file is missing, cut short or a pickle, or does not fit.
    """
    if path.is_file():
        refuse_pickle(path)
    require_fit(kinds_of(model.state_dict()), stored_kinds(path), path)
    return read_weights(path)


def kinds_of(tensors: Mapping[str, Tensor]) -> dict[str, Kind]:
    """Tensor name -> type and shape."""
    return {name: Kind(str(value.dtype).removeprefix("torch."), tuple(value.shape)) for name, value in tensors.items()}


def require_fit(expected: Mapping[str, Kind], found: Mapping[str, Kind], origin: Path) -> None:
    """Hold the tensors of a file to those of a model; a float may be of any width, every other type is the model's own.

    Raises:
        ArtifactError: names, shapes or types differ; the message counts them and shows the first.
    """
    wrong = [name for name in expected.keys() | found.keys() if not _fits(expected.get(name), found.get(name))]
    if wrong:
        name = min(wrong)
        have, want = found.get(name), expected.get(name)
        is_type = have is not None and want is not None and have.shape == want.shape
        shown = [str(kind.dtype if is_type else kind.shape) if kind else None for kind in (have, want)]
        raise ArtifactError(
            f"{origin}: {len(wrong)} of {len(expected)} tensors do not fit the model; "
            f"first: {name} is {shown[0] or 'missing'}, expected {shown[1] or 'nothing of that name'}"
        )


def _fits(expected: Kind | None, found: Kind | None) -> bool:
    if expected is None or found is None:
        return False
    return expected.shape == found.shape and (expected.dtype == found.dtype or {expected.dtype, found.dtype} <= FLOATS)
