"""Weights as safetensors: written, read, held to a model; a pickle is refused unread."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from slimline.artifact.weight_header import FILES
from slimline.errors import ArtifactError

WEIGHTS = FILES["none"]
PICKLE_ENDINGS = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth"}
PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors. Python writes the bytes, so that a full disk is an OSError as everywhere else.

    Raises:
        OSError: the disk is full or not writable.
    """
    path.write_bytes(save(plain_tensors(tensors)))


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
    refuse_pickle(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: is no whole safetensors file ({error}); it may be cut short, fetch it again") from error


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
        ArtifactError: names or shapes differ; the message counts them and shows the first.
    """
    require_shapes(shapes_of(model.state_dict()), shapes_of(weights), origin)
    model.load_state_dict(weights, strict=True)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def require_shapes(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], origin: Path) -> None:
    """Hold the tensors of a file to those of a model: name -> shape.

    Raises:
        ArtifactError: names or shapes differ; the message counts them and shows the first.
    """
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if wrong:
        name = min(wrong)
        raise ArtifactError(
            f"{origin}: {len(wrong)} of {len(expected)} tensors do not fit the model; "
            f"first: {name} is {found.get(name, 'missing')}, expected {expected.get(name, 'nothing of that name')}"
        )
