"""What may be the heads of an attention, from the names of its attributes and the widths of its linear layers.

Query heads H of width d, and K heads of keys and values, each shared by H / K queries (1 in multi-head attention, all in multi-query
attention: Shazeer 2019, arXiv 1911.02150; grouped: Ainslie et al. 2023, arXiv 2305.13245). One layer may make all of them: queries, keys
and values one after another (GPT-2, Phi-3), or head by head of the keys (GPT-NeoX, Bloom, Falcon).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.linear_units import linear_slices
from slimline.methods.transposed import widths

Grouped = Literal["groups", "queries"]
"""Which of grouped-query attention goes together: a key/value head with its queries, or one query of each key/value head."""
HEADS = re.compile(r"_?(n|num|number_of)?_?(attention|attn)?_?heads?")
SHARED = re.compile(r"_?(n|num|number_of)?_?(key_value|kv)_?heads?")
QUERIES = re.compile(r"_?(n|num|number_of)?_?(key_value|kv)_?groups?")
HEAD_DIM = re.compile(r"_?(attention_|attn_)?heads?_?(dim|size|width)")
CONFIG = "config."
ONE_HEAD = "it has a single head"


@dataclass(frozen=True)
class Attributes:
    """Whole numbers among a module's attributes, and of its config under CONFIG: of heads, of key/value heads, of queries of each."""

    heads: Mapping[str, int]
    shared: Mapping[str, int]
    queries: Mapping[str, int]
    head_dims: tuple[int, ...]
    others: Mapping[str, int]

    def steps(self, count: int, shared: int, units: int, *, with_keys: bool, of_config: bool) -> dict[str, int]:
        """By how much each falls with a unit; `with_keys` says whether keys and values go with their queries."""
        found = {key: count // units for key, value in self.heads.items() if value == count}
        if with_keys:
            found |= {key: shared // units for key, value in self.shared.items() if value == shared}
        else:
            found |= {key: 1 for key, value in self.queries.items() if value == count // shared}
        return {key: step for key, step in found.items() if of_config or not key.startswith(CONFIG)}


@dataclass(frozen=True)
class Guess:
    """What `AttentionHeads` holds, before it was tried."""

    group: ChannelGroup
    head_dim: int
    steps: Mapping[str, int]
    each: ChannelGroup | None


def attributes_of(module: nn.Module) -> Attributes | None:
    """The numbers of a module that has some of heads itself; None for others."""
    own = _whole(vars(module))
    head_dims = tuple(dict.fromkeys(value for key, value in own.items() if HEAD_DIM.fullmatch(key)))
    if not head_dims and not any(HEADS.fullmatch(key) for key in own):
        return None
    known = own | {f"{CONFIG}{key}": value for key, value in _whole(vars(getattr(module, "config", nn.Module()))).items()}

    def named(pattern: re.Pattern[str]) -> dict[str, int]:
        return {key: value for key, value in known.items() if pattern.fullmatch(key.removeprefix(CONFIG))}

    heads, shared, queries = named(HEADS), named(SHARED), named(QUERIES)
    others = {key: value for key, value in own.items() if key not in heads | shared | queries}
    return Attributes(heads, shared, queries, head_dims, others)


def guesses(model: nn.Module, name: str, attributes: Attributes, order: Sequence[str], grouped: Grouped) -> Iterator[Guess]:
    """What may be the heads of the module `name`, the likeliest first; `order` is that in which linear layers run."""
    inside = [layer for layer in order if layer.startswith(f"{name}.")]
    for makers in (inside[:3], inside[:1]):
        behind = order[order.index(makers[-1]) + 1 :] if len(makers) in (1, 3) else ()
        if not behind:
            continue
        reader = behind[0]
        width = widths(model.get_submodule(reader))[0]
        counts = [value for value in dict.fromkeys(attributes.heads.values()) if width % value == 0]
        for head_dim in dict.fromkeys((*attributes.head_dims, *(width // value for value in counts))):
            for unit in _units(model, makers, width, head_dim, grouped) if head_dim and width % head_dim == 0 else ():
                yield from _with_attributes(model, _Layers(name, tuple(makers), reader), unit, attributes)


def placed(each: ChannelGroup, place: Tensor, units: int) -> ChannelGroup:
    """The group of query heads where each belongs to the unit `place` [query heads]."""

    def moved(one: Slice) -> Slice:
        return replace(one, channel=torch.where(one.channel < 0, one.channel, place[one.channel.clamp(min=0)]))

    return replace(each, channels=units, slices=tuple(moved(one) for one in each.slices))


@dataclass(frozen=True)
class _Layers:
    name: str
    makers: tuple[str, ...]
    reader: str


@dataclass(frozen=True)
class _Unit:
    """What goes together: `heads` query heads and `shared` key/value heads; where each layer's heads belong, -1 for none."""

    heads: int
    shared: int
    head_dim: int
    units: int
    made: tuple[Tensor, ...]
    read: Tensor
    with_keys: bool


def _units(model: nn.Module, makers: Sequence[str], width: int, head_dim: int, grouped: Grouped) -> Iterator[_Unit]:
    """The ways in which layers of these widths may hold heads of this one."""
    made = [widths(model.get_submodule(layer))[1] for layer in makers]
    heads = width // head_dim
    if len(makers) == 3:
        query = next((place for place in range(3) if made[place] == width and made[place - 1] == made[place - 2]), None)
        shared, rest = divmod(made[(query or 0) - 1], head_dim)
    else:
        query, (shared, rest) = 0, divmod(made[0] - width, 2 * head_dim)
    if query is None or rest or shared < 1 or heads % shared:
        return
    with_keys = heads == shared or (shared > 1 and grouped == "groups")
    of_query = torch.arange(heads) // (heads // shared) if with_keys else torch.arange(heads)
    of_key = torch.arange(shared) if with_keys else torch.full((shared,), -1)
    units = shared if with_keys else heads // shared
    if len(makers) == 3:
        layouts = [tuple(of_query if place == query else of_key for place in range(3))]
    else:
        apart = torch.cat([of_query.view(shared, -1), of_key[:, None], of_key[:, None]], dim=1).flatten()
        layouts = [(torch.cat([of_query, of_key, of_key]),), (apart,)]
    yield from (_Unit(heads, shared, head_dim, units, layout, of_query, with_keys) for layout in layouts)


def _with_attributes(model: nn.Module, layers: _Layers, unit: _Unit, attributes: Attributes) -> Iterator[Guess]:
    """The attributes that may have to change with the heads: counts alone, with all of their total width, with one such, the config's."""
    group, each = _groups(model, layers, unit)
    fall = unit.heads // unit.units * unit.head_dim
    equal = tuple(key for key, value in attributes.others.items() if value == unit.heads * unit.head_dim)
    for of_config in (False, True):
        steps = attributes.steps(unit.heads, unit.shared, unit.units, with_keys=unit.with_keys, of_config=of_config)
        for chosen in dict.fromkeys(((), equal, *((key,) for key in equal))):
            yield Guess(group, unit.head_dim, steps | dict.fromkeys(chosen, fall), each)


def _groups(model: nn.Module, layers: _Layers, unit: _Unit) -> tuple[ChannelGroup, ChannelGroup | None]:
    """The units as a group, and each query head apart where keys and values stay."""
    slices: list[Slice] = []
    for layer, heads in zip(layers.makers, unit.made, strict=True):
        slices += _linear(model, layer, heads, unit.head_dim, reads=False)
    slices += _linear(model, layers.reader, unit.read, unit.head_dim, reads=True)
    why_whole = ONE_HEAD if unit.heads == 1 else ""
    group = ChannelGroup(layers.name, (*layers.makers, layers.reader), int(unit.read.max()) + 1, 1, tuple(slices), why_whole)
    return (group, None) if unit.with_keys else (placed(group, torch.arange(unit.heads) % unit.units, unit.units), group)


def _linear(model: nn.Module, name: str, heads: Tensor, head_dim: int, *, reads: bool) -> tuple[Slice, ...]:
    channel = heads.repeat_interleave(head_dim)
    return linear_slices(name, model.get_submodule(name), channel, reads=reads) if bool((heads >= 0).any()) else ()


def _whole(values: Mapping[str, Any]) -> dict[str, int]:
    return {key: value for key, value in values.items() if type(value) is int and value > 0}
