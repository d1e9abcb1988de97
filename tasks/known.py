"""The answers that the stage `teach` keeps, and the stage `distill` takes in place of asking."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from slimline.artifact.folder import sha256_of, write_json
from slimline.artifact.json_file import read_json
from slimline.artifact.weights import read_weights, write_weights
from slimline.data.batch import Tensors, tensors
from slimline.training.data import TrainingData
from slimline.training.known import Known

TAUGHT = Path("data/taught")
MANIFEST = "manifest.json"
MARK = "."
"""Before each name: a single output has none, an empty text."""


def write_answers(folder: Path, model: Path, found: Mapping[str, Tensors]) -> None:
    """A file a split, and the checksum of the manifest of whose they are."""
    for split, answers in found.items():
        write_weights(folder / f"{split}.safetensors", {f"{MARK}{name}": value for name, value in tensors(answers).items()})
    write_json(folder / MANIFEST, {"schema": 1, "of": sha256_of(model / MANIFEST), "splits": list(found)})


def known_answers(folder: Path, model: Path, teacher: nn.Module, data: TrainingData) -> tuple[Known, ...]:
    """Those of `teacher`, which is what `model` holds; none where none are kept, or those of another."""
    told = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {"of": ""}
    if told["of"] != sha256_of(model / MANIFEST):
        return ()
    splits = {"train": data.train, "validation": data.validation}
    return tuple(Known(teacher, splits[name], _answers(folder / f"{name}.safetensors")) for name in told["splits"])


def _answers(path: Path) -> Tensors:
    found = {name.removeprefix(MARK): value for name, value in read_weights(path).items()}
    return found[""] if set(found) == {""} else found
