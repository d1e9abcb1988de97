"""What a config has to say for its net to have the shapes that a method left: found by seeing which tensors follow which setting."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.stand_ins import Skip
from slimline.errors import InputError, SlimlineError
from slimline.workloads.huggingface.net import Plain, body_of, of_config, parsed

HEADS = ("num_attention_heads", "n_heads", "n_head")
SHARED = ("num_key_value_heads", "num_kv_heads")
DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "depths")
WIDTHS = ("intermediate_size", "hidden_dim", "ffn_dim", "ffn_hidden_size", "n_inner", "hidden_sizes", "embedding_size")
"""Settings of a config that are widths, or a width for each stage; None stands for a width that follows another."""
STEP = 8
"""By how much a width is changed to see which tensors follow it."""
Weights = Mapping[str, Tensor]
Follows = dict[tuple[str, int], tuple[int, int]]
"""(tensor, axis) -> its size at a setting's first value, and how much it grows with each one more."""


@dataclass(frozen=True)
class Setting:
    """A setting, or one place of a list of them: what it is, and a value to start from."""

    name: str
    place: int | None
    value: int | None

    @property
    def first(self) -> int:
        """Where a look at what follows it starts."""
        return STEP if self.value is None else self.value

    @property
    def step(self) -> int:
        """How far it goes; a number of heads doubles, for many have to divide something."""
        return self.first if self.name in HEADS else 1 if self.name in SHARED else STEP


def renumbered(body: nn.Module) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """The weights without gaps where layers were dropped, and which were, by the name of their list.

    Raises:
        InputError: something else than an entry of a list was dropped.
    """
    values, dropped = dict(body.state_dict()), dict[str, list[int]]()
    for name, layers in body.named_modules():
        places = [place for place, layer in layers.named_children() if isinstance(layer, Skip)]
        if not places:
            continue
        if not isinstance(layers, nn.ModuleList | nn.Sequential):
            raise InputError(f"export-hf: {name}.{places[0]} was dropped, which no config can say")
        kept = [place for place, _ in layers.named_children() if place not in places]
        moved = {f"{name}.{place}.": f"{name}.{number}." for number, place in enumerate(kept)}
        values = {_moved(key, moved): value for key, value in values.items()}
        dropped[f"{name}."] = [int(place) for place in places]
    return values, dropped


def changed_settings(net: Plain, values: Weights, dropped: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The settings that have to change for shapes to be those of `values`; of depth first, then heads and widths.

    Raises:
        InputError: layers differ in one, or no setting says how many layers there are.
    """
    config = parsed(net["config"], {}, "facts.json: net").to_dict()
    changes = _with_fewer_layers(net, config, dropped)
    settings = [Setting(name, *entry) for name in (*HEADS, *SHARED, *WIDTHS) if name in config for entry in _entries(config[name])]
    follows = {setting: _follows(net, config, changes, setting) for setting in settings}
    whole, found = _shapes(net, changes), dict(changes)
    for setting in settings:
        others = {key for other, theirs in follows.items() if other != setting for key in theirs}
        tensors = _follows(net, config, found, setting)  # once more: heads and their keys may stand in one tensor
        alone = {key: size for key, size in tensors.items() if key not in others} or tensors
        if setting.value is None and all(key in values and values[key].shape[axis] == whole[key][axis] for key, axis in alone):
            continue
        value = _read(setting, alone, values)
        if value is not None and value != setting.value:
            found |= _changed(setting, value, config, found)
    return found


def shapes_of(net: Plain) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the net's tensors.

    Raises:
        SlimlineError: such a net cannot be built.
    """
    return _shapes(net, {}, checked=True)


def _moved(key: str, moved: Mapping[str, str]) -> str:
    start = next((start for start in moved if key.startswith(start)), "")
    return f"{moved[start]}{key.removeprefix(start)}" if start else key


def _changed(setting: Setting, value: int, config: Plain, changes: Plain) -> dict[str, Any]:
    """One setting changed: a number, or one of a list; of heads also their width, which would else be that of fewer ones."""
    name, place = setting.name, setting.place
    whole = {name: value} if place is None else {name: _replaced(changes.get(name, config[name]), place, value)}
    return whole | (_head_width(config) if name in HEADS else {})


def _head_width(config: Plain) -> dict[str, int]:
    heads = next(config[name] for name in HEADS if name in config)
    width = next((config[name] for name in ("hidden_size", "dim", "n_embd") if name in config), 0)
    return {"head_dim": int(config.get("head_dim") or width // heads)}


def _entries(value: Any) -> Iterator[tuple[int | None, int | None]]:
    if value is None or type(value) is int:
        yield None, value
    elif isinstance(value, list | tuple):
        yield from ((place, one) for place, one in enumerate(value) if type(one) is int)


def _replaced(values: Any, place: int, found: int) -> list[int]:
    return [found if one == place else value for one, value in enumerate(values)]


def _with_fewer_layers(net: Plain, config: Plain, dropped: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The settings of depth whose layers are in the lists that lost some, and lists with an entry for each layer."""
    changes: dict[str, Any] = {}
    left = dict(dropped)
    for name in DEPTHS if left else ():
        for place, value in _entries(config.get(name)):
            if value is None:
                continue
            fewer = _changed(Setting(name, place, value), value - 1, config, {})
            gone = _shapes(net, {}).keys() - _shapes(net, fewer).keys()
            if start := next((start for start in left if any(key.startswith(start) for key in gone)), None):
                places = left.pop(start)
                changes |= _changed(Setting(name, place, value), value - len(places), config, changes)
                changes |= _lists_without(config, places, value) if place is None else {}
    if left:
        raise InputError(f"export-hf: {next(iter(left)).rstrip('.')} lost layers, and no setting of the config says how many it has")
    return changes


def _lists_without(config: Plain, places: Sequence[int], layers: int) -> dict[str, list[Any]]:
    lists = {name: value for name, value in config.items() if isinstance(value, list) and len(value) == layers and "layer" in name}
    return {name: [one for place, one in enumerate(value) if place not in places] for name, value in lists.items()}


def _follows(net: Plain, config: Plain, changes: Plain, setting: Setting) -> Follows:
    """Which tensors follow a setting; none where the net cannot be built with another one, or its heads have no width of their own."""
    width = _head_width(config) if setting.name in HEADS else {}
    try:
        before = _shapes(net, {**changes, **width, **_changed(setting, setting.first, config, changes)})
        after = _shapes(net, {**changes, **width, **_changed(setting, setting.first + setting.step, config, changes)})
    except SlimlineError:
        return {}
    found: Follows = {}
    for key, shape in before.items():
        for axis, (one, other) in enumerate(zip(shape, after.get(key, shape), strict=True)):
            if one != other and (other - one) % setting.step == 0:
                found[key, axis] = one, (other - one) // setting.step
    return found


def _read(setting: Setting, tensors: Follows, values: Weights) -> int | None:
    """The setting as the shapes of `values` have it; None where none of them follows it.

    Raises:
        InputError: layers differ in it.
    """
    seen: dict[int, str] = {}
    for (key, axis), (size, each) in tensors.items():
        if key in values and values[key].dim() > axis:
            more, rest = divmod(values[key].shape[axis] - size, each)
            seen.setdefault(setting.first + more if not rest else -1, key)
    if len(seen) > 1:
        told = " and ".join(f"{key} {list(values[key].shape)}" for key in list(seen.values())[:2])
        raise InputError(f"export-hf: layers differ in {setting.name}, of which a config has one for all: {told}")
    return next(iter(seen), None)


def _shapes(net: Plain, changes: Plain, *, checked: bool = False) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the net's tensors with some settings changed, which need not go together unless they are `checked`.

    Raises:
        SlimlineError: such a net cannot be built.
    """
    config = parsed({**net["config"], **(changes if checked else {})}, {}, "facts.json: net")
    for name, value in changes.items():
        try:
            setattr(config, name, value)
        except AttributeError as error:
            raise InputError(f"export-hf: a config of {config.model_type} has no {name} of its own") from error
    with torch.device("meta"):
        made = of_config(net, config)
    return {name: tuple(value.shape) for name, value in body_of(made).state_dict().items()}
