"""Which rows and columns of which Linear layers belong to each attention head, and their removal.

nn.MultiheadAttention becomes slimline.artifact.stand_ins.Attention first, which may have fewer heads. Any attention is known by a number
of heads among its attributes and by its Linear layers in the order in which they run: one for queries, keys and values, or three, and
the next one, which reads as many features. What that guess takes for heads is tried before it counts (`removal_works`).
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from slimline.artifact.stand_ins import Attention
from slimline.data.batch import Batch
from slimline.methods.layer_calls import run_hooked
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.methods.prune.channel_removal import remove_channels_
from slimline.methods.prune.linear_units import linear_slices, removal_works
from slimline.methods.prune.probe_inputs import reaching

HEADS = re.compile(r"_?(n|num|number_of)?_?(attention|attn)?_?heads?")
WHY_WHOLE = "its forward takes a width from its input or elsewhere, not from its own number of heads"


@dataclass(frozen=True)
class AttentionHeads:
    """The heads of one attention: `group.layer` is its name, `group.channels` how many heads it has.

    `counts` and `widths` are the attributes that hold the number of heads, and that number times the heads' width.
    """

    group: ChannelGroup
    head_dim: int
    counts: tuple[str, ...]
    widths: tuple[str, ...] = ()


def with_open_heads(model: nn.Module, example: Batch) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy in which each nn.MultiheadAttention that runs is an Attention with the same outputs, and the names of these."""
    opened = copy.deepcopy(model).eval()
    fused: dict[str, bool] = {}
    handles = []
    for name, module in opened.named_modules():
        if isinstance(module, nn.MultiheadAttention) and module.bias_k is None and not module.add_zero_attn:
            handles.append(module.register_forward_pre_hook(_noting_self_attention(name, fused), with_kwargs=True))
    run_hooked(opened, example, handles)
    for name, is_self in fused.items():
        opened.set_submodule(name, _opened(cast("nn.MultiheadAttention", opened.get_submodule(name)), is_self), strict=True)
    for encoder in opened.modules():
        if isinstance(encoder, nn.TransformerEncoder) and any(isinstance(layer, Attention) for layer in encoder.modules()):
            encoder.use_nested_tensor = False  # it would nest padded inputs for a kernel that an Attention has not
    return opened, tuple(fused)


def attention_heads(model: nn.Module, example: Batch) -> tuple[AttentionHeads, ...]:
    """The heads of every attention that runs, in the model's order; `group.why_whole` is set where a trial without one of them fails."""
    inputs = reaching(model, example)
    found: dict[str, AttentionHeads] = {}
    taken: set[str] = set()
    runs = _linear_runs(model, inputs)
    for name in sorted(runs.within, key=lambda name: -name.count(".")):
        guesses = [guess for guess in _guesses(model, name, runs) if not taken & set(guess.group.layers)]
        if guesses:
            working = next((guess for guess in guesses if _works(model, guess, inputs)), None)
            found[name] = working or replace(guesses[0], group=replace(guesses[0].group, why_whole=WHY_WHOLE))
            taken |= set(found[name].group.layers)
    return tuple(found[name] for name in runs.within if name in found)


def remove_heads_(model: nn.Module, heads: AttentionHeads, removed: Sequence[int]) -> None:
    """Take these heads out of `model` itself."""
    attention = model.get_submodule(heads.group.layer)
    remove_channels_(model, [heads.group], {heads.group.layer: removed})
    for key in heads.counts:
        setattr(attention, key, heads.group.channels - len(removed))
    for key in heads.widths:
        setattr(attention, key, (heads.group.channels - len(removed)) * heads.head_dim)


def _noting_self_attention(name: str, fused: dict[str, bool]) -> Any:
    def note(_module: nn.Module, given: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        query, key, value = (*given, *(options[key] for key in ("query", "key", "value")[len(given) :]))[:3]
        fused[name] = fused.get(name, True) and query is key and key is value

    return note


def _opened(attention: nn.MultiheadAttention, is_self: bool) -> Attention:
    is_packed = attention._qkv_same_embed_dim
    shape: dict[str, Any] = {"kdim": attention.kdim, "vdim": attention.vdim, "bias": attention.in_proj_bias is not None}
    options: dict[str, Any] = {"dropout": attention.dropout, "batch_first": attention.batch_first, "fused": is_self and is_packed}
    opened = Attention(attention.embed_dim, attention.num_heads, attention.head_dim, **shape, **options)
    layers = [opened.in_proj] if opened.fused else [opened.q_proj, opened.k_proj, opened.v_proj]
    apart = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    made = {"weight": attention.in_proj_weight.chunk(len(layers)) if is_packed else apart}
    made |= {"bias": attention.in_proj_bias.chunk(len(layers))} if opened.bias else {}
    with torch.no_grad():
        for name, parts in made.items():
            for layer, part in zip((*layers, opened.out_proj), (*parts, attention.out_proj.get_parameter(name)), strict=True):
                layer.get_parameter(name).copy_(part)
    return opened.to(attention.out_proj.weight.dtype).train(attention.training)


@dataclass(frozen=True)
class _Runs:
    """Linear layers in the order in which they first ran, and for each module with a number of heads those that ran within it."""

    order: tuple[str, ...]
    within: Mapping[str, tuple[str, ...]]


def _linear_runs(model: nn.Module, inputs: Batch) -> _Runs:
    traced = copy.deepcopy(model).eval()
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _module, _given, name=name: order.append(name) if name not in order else None)
        for name, module in traced.named_modules()
        if isinstance(module, nn.Linear)
    ]
    run_hooked(traced, inputs, handles)
    attentions = [name for name, module in traced.named_modules() if name and _counts(module)]
    return _Runs(tuple(order), {name: tuple(layer for layer in order if layer.startswith(f"{name}.")) for name in attentions})


def _counts(module: nn.Module) -> dict[str, int]:
    return {key: value for key, value in vars(module).items() if type(value) is int and value > 1 and HEADS.fullmatch(key)}


def _guesses(model: nn.Module, name: str, runs: _Runs) -> Iterator[AttentionHeads]:
    """What may be the heads: three Linear layers of equal outputs, or one of three parts, and the layer that reads them."""
    attention, inside = model.get_submodule(name), runs.within[name]
    for count in sorted(set(_counts(attention).values())):
        for makers in (inside[:3], inside[:1]):
            layers = [cast("nn.Linear", model.get_submodule(layer)) for layer in makers]
            if len(makers) not in (1, 3) or len({layer.out_features for layer in layers}) != 1:
                continue
            width, rest = divmod(layers[0].out_features, 1 if len(makers) == 3 else 3)
            reader = next(iter(runs.order[runs.order.index(makers[-1]) + 1 :]), None)
            if rest or width % count or reader is None or cast("nn.Linear", model.get_submodule(reader)).in_features != width:
                continue
            for unit in _layouts(count, width // count, parts=3 // len(makers)):
                yield from _with_attributes(_group(model, name, makers, reader, unit, count), attention, width)


def _layouts(count: int, head_dim: int, parts: int) -> list[Tensor]:
    """Which head each output of a layer belongs to: the parts one after another, or those of each head together."""
    heads = torch.arange(count).repeat_interleave(head_dim)
    together = torch.arange(count).repeat_interleave(parts * head_dim)
    return [heads] if parts == 1 else [heads.repeat(parts), together]


def _group(model: nn.Module, name: str, makers: Sequence[str], reader: str, unit: Tensor, count: int) -> ChannelGroup:
    made = [place for layer in makers for place in linear_slices(layer, cast("nn.Linear", model.get_submodule(layer)), unit, reads=False)]
    output = cast("nn.Linear", model.get_submodule(reader))
    read = linear_slices(reader, output, torch.arange(count).repeat_interleave(output.in_features // count), reads=True)
    return ChannelGroup(name, (*makers, reader), count, 1, (*made, *read))


def _with_attributes(group: ChannelGroup, attention: nn.Module, width: int) -> Iterator[AttentionHeads]:
    """The attributes that may have to change with the heads: the counts alone, with all of their total width, with one such."""
    counts = tuple(key for key, value in _counts(attention).items() if value == group.channels)
    equal = tuple(key for key, value in vars(attention).items() if type(value) is int and value == width and key not in counts)
    choices = [(), equal, *((key,) for key in equal)]
    return (AttentionHeads(group, width // group.channels, counts, chosen) for chosen in dict.fromkeys(choices))


def _works(model: nn.Module, heads: AttentionHeads, inputs: Batch) -> bool:
    return removal_works(model, heads.group, lambda tried, removed: remove_heads_(tried, heads, removed), inputs)
