"""A variant written back as a directory that `from_pretrained` loads, where one config.json says how all its layers are."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.border import told_as
from slimline.artifact.folder import whole_folder
from slimline.artifact.stand_ins import Skip
from slimline.data.batch import Batch
from slimline.errors import InputError, StageError, WorkloadError
from slimline.workloads.huggingface.net import Plain, body_of, built, sketched

WIDTHS = ("intermediate_size", "hidden_dim", "ffn_dim", "hidden_sizes", "embedding_size")
"""Settings of a config that are widths, or a width for each stage."""
HEADS = ("num_attention_heads", "n_heads")
DEPTHS = ("num_hidden_layers", "n_layers", "depths")
STEP = 8
"""By how much a width is changed to see which tensors follow it."""
ENDINGS, WEIGHTS = {".json", ".txt", ".model"}, ("config.json", "model.safetensors.index.json", "generation_config.json")
"""What is copied beside the weights (tokenizer, processor), and what of it is not."""
TOLERANCE = 1e-5
Weights = Mapping[str, Tensor]


def write_back(model: nn.Module, net: Plain, samples: Batch, into: Path, origin: Path) -> dict[str, Any]:
    """Write config.json, model.safetensors and the files beside them in `origin` into a new folder; returns the settings that changed.

    What is loaded from there gives the same outputs on `samples`, or nothing is written.

    Raises:
        InputError: no config describes the model; the message says which layers are in the way.
    """
    body = body_of(model)
    values, dropped = _renumbered(body)
    changes = _changes(net, values, dropped)
    plain = {**net, "config": {**net["config"], **changes}}
    _require_described(plain, values, changes)
    whole = built(plain)
    own = body_of(whole)
    own.load_state_dict(dict(values))
    with whole_folder(into) as draft:
        own.save_pretrained(draft)
        _copy_beside(origin, draft)
        _require_equal(model, whole, draft, samples)
    return changes


def _copy_beside(origin: Path, draft: Path) -> None:
    """Tokenizer, processor and pooling, as they are in the directory that the net came from."""
    for path in sorted((*origin.glob("*"), *origin.glob("[0-9]_*/*"))):
        inside = path.relative_to(origin)
        if path.is_file() and path.suffix in ENDINGS and str(inside) not in WEIGHTS:
            (draft / inside).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, draft / inside)


def _renumbered(body: nn.Module) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The weights without gaps where a layer was dropped, and how many were, by the name of their list."""
    values, dropped = dict(body.state_dict()), {}
    for name, layers in body.named_modules():
        places = [place for place, layer in layers.named_children() if isinstance(layer, Skip)]
        if not places:
            continue
        if not isinstance(layers, nn.ModuleList | nn.Sequential):
            raise InputError(f"export-hf: {name}.{places[0]} was dropped, which no config can say")
        kept = [place for place, _ in layers.named_children() if place not in places]
        moved = {f"{name}.{place}.": f"{name}.{number}." for number, place in enumerate(kept)}
        values = {_moved(key, moved): value for key, value in values.items()}
        dropped[f"{name}."] = len(places)
    return values, dropped


def _moved(key: str, moved: Mapping[str, str]) -> str:
    start = next((start for start in moved if key.startswith(start)), "")
    return f"{moved[start]}{key.removeprefix(start)}" if start else key


def _changes(net: Plain, values: Weights, dropped: Mapping[str, int]) -> dict[str, Any]:
    """The settings that have to change for shapes to be those of `values`; of heads and depth first, then widths."""
    full = sketched(net)
    config = body_of(full).config.to_dict()
    changes: dict[str, Any] = _with_fewer_layers(net, config, dropped)
    for name in (*HEADS, *WIDTHS):
        for place, value in _entries(config.get(name)):
            here = {**net, "config": {**net["config"], **changes}}
            found = _read(here, config, name, place, value, values)
            if found is not None and found != value:
                changes |= _changed(name, place, found, config, changes)
    return changes


def _changed(name: str, place: int | None, found: int, config: Plain, changes: Plain) -> dict[str, Any]:
    """One setting changed: a number, or one of a list; of heads also their width, which would else be that of fewer ones."""
    whole = {name: found} if place is None else {name: _replaced(changes.get(name, config[name]), place, found)}
    return whole | (_head_width(config) if name in HEADS else {})


def _head_width(config: Plain) -> dict[str, int]:
    heads = next(config[name] for name in HEADS if name in config)
    width = next((config[name] for name in ("hidden_size", "dim") if name in config), 0)
    return {"head_dim": int(config.get("head_dim") or width // heads)}


def _entries(value: Any) -> Iterator[tuple[int | None, int]]:
    if type(value) is int:
        yield None, value
    elif isinstance(value, list | tuple):
        yield from ((place, one) for place, one in enumerate(value) if type(one) is int)


def _replaced(values: Any, place: int, found: int) -> list[int]:
    return [found if one == place else value for one, value in enumerate(values)]


def _with_fewer_layers(net: Plain, config: Plain, dropped: Mapping[str, int]) -> dict[str, Any]:
    """The settings of depth whose layers are in the lists that lost some."""
    changes: dict[str, Any] = {}
    left = dict(dropped)
    for name in DEPTHS if left else ():
        for place, value in _entries(config.get(name)):
            gone = _shapes(net).keys() - _shapes(net, _changed(name, place, value - 1, config, {})).keys()
            if start := next((start for start in left if any(key.startswith(start) for key in gone)), None):
                changes |= _changed(name, place, value - left.pop(start), config, changes)
    if left:
        raise InputError(f"export-hf: {next(iter(left)).rstrip('.')} lost layers, and no setting of the config says how many it has")
    return changes


def _read(net: Plain, config: Plain, name: str, place: int | None, value: int, values: Weights) -> int | None:
    """The setting as the shapes of `values` have it; None where no shape follows it alone.

    Raises:
        InputError: layers differ in it.
    """
    step = 1 if name in HEADS else STEP
    try:
        before = _shapes(net, _head_width(config) if name in HEADS else {})
        after = _shapes(net, _changed(name, place, value + step, config, net["config"]))
    except WorkloadError:
        return None
    seen: dict[int, str] = {}
    for key, shape in before.items():
        for axis, (one, other) in enumerate(zip(shape, after.get(key, shape), strict=True)):
            if one != other and key in values and values[key].dim() == len(shape):
                found, rest = divmod((values[key].shape[axis] - one) * step, other - one)
                seen.setdefault(value + found if not rest else -1, key)
    if len(seen) > 1:
        told = " and ".join(f"{key} {list(values[key].shape)}" for key in list(seen.values())[:2])
        raise InputError(f"export-hf: layers differ in {name}, of which a config has one for all: {told}")
    return next(iter(seen), None)


def _shapes(net: Plain, changes: Plain | None = None) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the net's tensors with some settings changed.

    Raises:
        WorkloadError: such a net cannot be built.
    """
    made = sketched({**net, "config": {**net["config"], **(changes or {})}})
    return {name: tuple(value.shape) for name, value in body_of(made).state_dict().items()}


def _require_described(net: Plain, values: Weights, changes: Plain) -> None:
    """Hold the config to describing exactly these weights.

    Raises:
        InputError: it does not.
    """
    wanted, found = _shapes(net), {name: tuple(value.shape) for name, value in values.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        kind, told = net["config"]["model_type"], f" (with {dict(changes)})" if changes else ""
        raise InputError(
            f"export-hf: no config of {kind} describes {len(wrong)} of {len(found)} tensors; first: {name} is "
            f"{list(found[name]) if name in found else 'not there'}, such a config{told} has "
            f"{list(wanted[name]) if name in wanted else 'none of that name'}"
        )


def _require_equal(model: nn.Module, whole: nn.Module, folder: Path, samples: Batch) -> None:
    """Hold what `from_pretrained` loads to the model's own outputs.

    Raises:
        StageError: they differ.
    """
    own = body_of(whole)
    with told_as(lambda reason: StageError(f"export-hf: transformers does not load what was written: {reason}")):
        loaded = type(own).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    own.load_state_dict({name: value for name, value in loaded.state_dict().items() if name in own.state_dict()})  # or a pooler of its own
    with torch.inference_mode():
        wanted, found = model.eval()(**samples), whole.eval()(**samples)
    logits = found if isinstance(found, Tensor) else found.logits
    if not torch.allclose(wanted, logits, rtol=0, atol=TOLERANCE * max(1.0, float(wanted.abs().max()))):
        raise StageError("export-hf: the directory would give other outputs than the variant; take the target eager or onnxruntime")
