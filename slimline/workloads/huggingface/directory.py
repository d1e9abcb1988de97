"""A Hugging Face directory as it lies on disk: where it is, what it must hold, and what is refused unread. Nothing heavy is imported.

`hf:DIRECTORY` is a path in the project (or an absolute one); `hf:org/name@REVISION` a repository of the hub at one commit, fetched once.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slimline.artifact.border import told_as
from slimline.artifact.json_file import read_json
from slimline.artifact.weight_header import FLOATS, PICKLE_ENDINGS, Kind, stored_kinds
from slimline.errors import ArtifactError, SlimlineError, WorkloadError

PREFIX = "hf:"
NEEDED = ("transformers", "tokenizers", "huggingface_hub")
"""The packages that read one."""
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PINNED = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
NAMED = re.compile(r"[\w.-]+/[\w.-]+(@[^/]*)?")
LONGEST_CONFIG_BYTES = 2_000_000
CARRIED = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md", "README.md")
"""What belongs to a model wherever it goes: its licence, and its card, which says which one it is."""
LONGEST_CARRIED_BYTES = 500_000


def is_directory(architecture: str) -> bool:
    """Whether `model.architecture` names a Hugging Face directory."""
    return architecture.startswith(PREFIX)


def located(architecture: str, root: Path = Path()) -> Path:
    """The folder of `hf:…`, as yet unread; one of the hub is fetched where it is not there.

    Raises:
        WorkloadError: there is none, or a name of the hub lacks its revision.
        ArtifactError: the hub does not give it.
    """
    place = architecture.removeprefix(PREFIX)
    if place.endswith(".gguf"):
        raise WorkloadError(
            f"params.yaml: model.architecture: {architecture} is a file; make a directory of it: slimline import-gguf {place} DIR"
        )
    where = f"params.yaml: model.architecture: {architecture}"
    if (root / place).is_dir():
        return root / place
    if pinned := PINNED.fullmatch(place):
        from slimline.workloads.huggingface.hub import fetched

        return fetched(pinned["name"], pinned["revision"], where)
    if NAMED.fullmatch(place) and not place.startswith("."):
        raise WorkloadError(
            f"{where}: no folder {place!r}; of the hub's models one commit is taken: write hf:{place.partition('@')[0]}@ and the 40 "
            "characters of its revision"
        )
    raise WorkloadError(f"{where}: no folder {place!r}; the path is relative to the project folder")


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says, as plain data.

    Raises:
        ArtifactError: there is none, it is damaged, asks for code, or is of quantized weights.
    """
    config = read_json(folder / CONFIG, LONGEST_CONFIG_BYTES)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ArtifactError(f"{folder / CONFIG}: names no model_type; save the model with transformers (model.save_pretrained)")
    if "auto_map" in config:
        raise ArtifactError(
            f"{folder / CONFIG}: auto_map asks for code from the directory, which is never run; take an architecture of transformers itself"
        )
    if config.get("quantization_config"):
        method = _shown(config["quantization_config"])
        raise ArtifactError(f"{folder / CONFIG}: the weights are quantized already ({method}); give the directory of the float model")
    return config


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold the weights, one or those of the index.

    Raises:
        ArtifactError: there are none (the pickles beside them are named), or the index names what is not there.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if not (folder / INDEX).is_file():
        raise ArtifactError(_no_weights(folder))
    index = read_json(folder / INDEX)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted(set(parts.values())) if isinstance(parts, dict) and all(isinstance(name, str) for name in parts.values()) else []
    if not names or any(Path(name).name != name for name in names):
        raise ArtifactError(f"{folder / INDEX}: names no files beside it; fetch it again")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ArtifactError(f"{folder / INDEX}: names {missing[0]}, which is not there; fetch the directory again")
    return tuple(folder / name for name in names)


def weight_kinds(folder: Path) -> dict[str, Kind]:
    """Type and shape of every tensor, by the headers alone.

    Raises:
        ArtifactError: a file is no whole safetensors file, or holds weights that are no floats.
    """
    found: dict[str, Kind] = {}
    for path in weight_files(folder):
        found |= stored_kinds(path)
    if quantized := [name for name, kind in found.items() if kind.dtype not in FLOATS and _is_weight(name, kind)]:
        name = min(quantized)
        raise ArtifactError(f"{folder}: {name} is {found[name].dtype}, no float; give the directory of the float model")
    return found


def _is_weight(name: str, kind: Kind) -> bool:
    """Whether it is no table of places, count or mask, which are whole numbers and stand beside the weights of many a model."""
    return "weight" in name.rpartition(".")[2] or kind.dtype.startswith("complex")


def carried(folder: Path) -> dict[str, str]:
    """The files of CARRIED that are there, as text.

    Raises:
        ArtifactError: one is no text, or too long.
    """
    found = {}
    for path in (folder / name for name in CARRIED if (folder / name).is_file()):
        if path.stat().st_size > LONGEST_CARRIED_BYTES:
            raise ArtifactError(
                f"{path}: {path.stat().st_size:,} bytes; what goes into every release has at most {LONGEST_CARRIED_BYTES:,}"
            )
        found[path.name] = _text(path)
    return found


def _text(path: Path) -> str:
    with told_as(lambda reason: ArtifactError(f"{path}: is no UTF-8 text: {reason}")):
        return path.read_text(encoding="utf-8")


def problems(architecture: str, root: Path) -> Iterator[str]:
    """What `slimline check` says of `hf:…`, without transformers; a model of the hub is looked at once it is fetched."""
    if PINNED.fullmatch(architecture.removeprefix(PREFIX)):
        return
    try:
        folder = located(architecture, root)
        read_config(folder)
        weight_kinds(folder)
    except SlimlineError as error:
        yield from str(error).splitlines()


def _no_weights(folder: Path) -> str:
    if pickles := sorted(path.name for path in folder.glob("*") if path.suffix in PICKLE_ENDINGS):
        return (
            f"{folder}: holds {', '.join(pickles)}, pickled weights, which can run any code when loaded and are refused unread; "
            "save it as safetensors where you trust it (docs/operations.md, 'Convert a pickle')"
        )
    return f"{folder}: holds no {WEIGHTS}; save the model with transformers (model.save_pretrained)"


def _shown(quantization: object) -> str:
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    return str(method)[:40]
