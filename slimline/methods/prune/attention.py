"""Which rows and columns of which linear layers belong to each attention head, and their removal.

Any attention is known by a number of heads, or a width of one, among its attributes, and by its linear layers in the order in which they
run: one for queries, keys and values, or three, and the next one, which reads as many features as there are of queries. What may be its
heads (attention_guesses.py) is tried before it counts, on the smallest module that holds these layers: without a head it must give what
it gives when nothing reads the head.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from slimline.data.batch import Batch
from slimline.methods.layer_calls import run_hooked
from slimline.methods.prune.attention_guesses import Attributes, Grouped, Guess, attributes_of, guesses, placed
from slimline.methods.prune.called_module import Call, calls_of, outputs_of
from slimline.methods.prune.channel_flow import FAILURES
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.methods.prune.channel_removal import remove_channels_, without_reading
from slimline.methods.prune.channel_trial import same_outputs, tried_channels
from slimline.methods.prune.probe_inputs import reaching
from slimline.methods.transposed import is_linear

WHY_WHOLE = "its forward takes a width from its input or elsewhere, not from its own number of heads"
UNKNOWN = "its linear layers are not one or three that make queries, keys and values and one that reads them"


@dataclass(frozen=True)
class AttentionHeads:
    """The heads of one attention: `group.layer` is its name, `group.channels` how many units of heads it has.

    A unit is a head, a key/value head with all of its queries, or one query head of each key/value head. `steps` are the attributes that
    fall with each unit that goes, and by how much. `each` has every query head apart, where a unit may be any one of each key/value head.
    """

    group: ChannelGroup
    head_dim: int
    steps: Mapping[str, int]
    each: ChannelGroup | None = None


def attention_heads(model: nn.Module, example: Batch, grouped: Grouped = "groups") -> tuple[AttentionHeads, ...]:
    """The heads of every attention that runs, in the model's order; `group.why_whole` is set where a trial without one of them fails.

    `grouped` says what a unit is where several query heads share keys and values; where all share one, it is a query head.
    """
    inputs = reaching(model, example)
    attributes = {name: found for name, module in model.named_modules() if name and (found := attributes_of(module))}
    order = _order(model, inputs)
    made: dict[str, list[Guess]] = {}
    taken: set[str] = set()
    for name in sorted(attributes, key=lambda name: -name.count(".")):
        possible = [guess for guess in guesses(model, name, attributes[name], order, grouped) if not taken & set(guess.group.layers)]
        inside = [layer for layer in order if layer.startswith(f"{name}.")]
        if possible or (len(inside) > 1 and not taken & set(inside)):
            made[name] = possible
            taken |= {layer for guess in possible[:1] for layer in guess.group.layers}
    scopes = {name: _scope(possible[0].group) for name, possible in made.items() if possible}
    calls = calls_of(model, sorted({scope for scope in scopes.values() if scope}), inputs) | {"": Call((), inputs)}
    return tuple(_found(model, name, made[name], found, scopes.get(name, ""), calls) for name, found in attributes.items() if name in made)


def remove_heads_(model: nn.Module, heads: AttentionHeads, removed: Sequence[int]) -> None:
    """Take these units out of `model` itself."""
    attention = model.get_submodule(heads.group.layer)
    remove_channels_(model, [heads.group], {heads.group.layer: removed})
    _lower_(attention, {key: step * len(removed) for key, step in heads.steps.items()})


def with_places(heads: AttentionHeads, place: Tensor) -> AttentionHeads:
    """The same where each query head's unit is `place` [query heads]: as many of them of each key/value head."""
    assert heads.each is not None
    return replace(heads, group=placed(heads.each, place, heads.group.channels))


def _lower_(attention: Any, by: Mapping[str, int]) -> None:
    """Lower attributes of an attention, or of its config, which becomes its own."""
    for key, amount in by.items():
        owner, _, name = key.rpartition(".")
        if owner:
            setattr(attention, owner, copy.copy(getattr(attention, owner)))
        holder = getattr(attention, owner) if owner else attention
        setattr(holder, name, getattr(holder, name) - amount)


def _order(model: nn.Module, inputs: Batch) -> tuple[str, ...]:
    """Linear layers in the order in which they first ran."""
    traced = copy.deepcopy(model).eval()
    order: dict[str, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda _module, _given, name=name: order.setdefault(name))
        for name, module in traced.named_modules()
        if is_linear(module)
    ]
    run_hooked(traced, inputs, handles)
    return tuple(order)


def _scope(group: ChannelGroup) -> str:
    """The smallest module that holds all layers of a group; empty for the model itself."""
    name = group.layer
    while name and not all(layer.startswith(f"{name}.") for layer in group.layers):
        name = name.rpartition(".")[0]
    return name


def _found(
    model: nn.Module, name: str, possible: Sequence[Guess], attributes: Attributes, scope: str, calls: Mapping[str, Call]
) -> AttentionHeads:
    """The first guess that works; else one that says why it stays whole."""
    for guess in possible:
        if guess.group.why_whole:
            return AttentionHeads(guess.group, guess.head_dim, guess.steps)
        if scope in calls and _works(model, guess, scope, calls[scope]):
            return AttentionHeads(guess.group, guess.head_dim, guess.steps, guess.each)
    if possible:
        return AttentionHeads(replace(possible[0].group, why_whole=WHY_WHOLE), possible[0].head_dim, {})
    return AttentionHeads(ChannelGroup(name, (), max(attributes.heads.values(), default=1), 1, (), UNKNOWN), 1, {})


def _works(model: nn.Module, guess: Guess, scope: str, call: Call) -> bool:
    """Whether a module without some of its units gives what the whole one gives when nothing reads these units."""
    heads = AttentionHeads(_within(scope, guess.group), guess.head_dim, guess.steps)
    part = model.get_submodule(scope)
    whole = outputs_of(copy.deepcopy(part).eval(), call)
    for removed in tried_channels(guess.group.channels, 0):
        smaller = copy.deepcopy(part).eval()
        remove_heads_(smaller, heads, removed)
        unread = outputs_of(without_reading(part, [heads.group], {heads.group.layer: removed}), call)
        try:
            found = outputs_of(smaller, call)
        except FAILURES:
            return False
        counted = slice(1) if scope else slice(None)  # behind the first there may be weights for each head
        if len(found) != len(unread) or not all(map(same_outputs, found[counted], unread[counted], whole[counted])):
            return False
    return True


def _within(scope: str, group: ChannelGroup) -> ChannelGroup:
    """The group by its names inside of a module."""

    def inside(name: str) -> str:
        return name.removeprefix(scope).removeprefix(".")

    slices = tuple(replace(one, module=inside(one.module)) for one in group.slices)
    return replace(group, layer=inside(group.layer), layers=tuple(map(inside, group.layers)), slices=slices)
