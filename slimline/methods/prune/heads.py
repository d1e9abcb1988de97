"""Remove whole attention heads, and hidden neurons of the perceptrons between them, so that shapes shrink.

Michel et al. 2019, "Are sixteen heads really better than one?" (arXiv 1905.10650): most heads of a trained transformer can go, and a gate
on each head tells which. Voita et al. 2019 (arXiv 1905.09418) found the same for translation. What a head is: attention.py.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from torch import Tensor, nn

from slimline.artifact.stand_ins import Attention
from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited, Listing
from slimline.methods.name_patterns import matching
from slimline.methods.prune.attention import AttentionHeads, attention_heads, remove_heads_, with_places
from slimline.methods.prune.channel_counts import kept_counts, weakest
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.methods.prune.channel_removal import remove_channels_
from slimline.methods.prune.channel_scores import channel_scores
from slimline.methods.prune.linear_units import hidden_neurons, output_changes
from slimline.methods.prune.open_attention import with_open_heads
from slimline.methods.prune.reader_inputs import activation_scores, refit_
from slimline.params import ChannelsParams, HeadsParams

Kind = Literal["heads", "neurons"]
Removed = dict[str, list[int]]
"""A group's layer -> which of its heads or neurons go."""
NO_ATTENTION = (
    "prune: heads found no attention in this model: nn.MultiheadAttention, or a module with a number of heads and Linear layers for "
    "queries, keys and values; use method channels, or leave out fraction to take hidden neurons alone"
)
COLUMNS = ("where", "units", "before", "left", "why whole")


def heads(model: nn.Module, config: HeadsParams, *, data: MethodData) -> Edited:
    """Return a copy in evaluation mode with `fraction` of its attention heads and `mlp_ratio` of its hidden neurons gone.

    Of each attention at least one head stays; where query heads share keys and values, `grouped` says what goes together. An
    nn.MultiheadAttention that loses heads becomes an `Attention`; of other attention the linear layers shrink, and the attributes that
    count heads change. Scores are those of method channels (`channel_scores`): with criterion taylor, gates at what the output projection
    reads. `output_change` is how far the outputs on the calibration sample move without a head; it scores heads alone, neurons go by l2.
    `activation` is what each adds to the outputs of the layer that reads it (`activation_scores`), `refit` fits what is left of that layer
    (`refit_`). `data.seed` decides for `criterion: random`, and which samples taylor sees.

    Raises:
        InputError: `keep` names nothing that there is.
        StageError: there is no attention, nothing of it can go, or, with `mlp_ratio`, the model cannot be traced.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    smaller, opened = with_open_heads(model, data.example)
    attentions = {one.group.layer: one for one in attention_heads(smaller, data.example, config.grouped)}
    if config.fraction and not attentions:
        raise Impossible(NO_ATTENTION)
    taken = frozenset(layer for attention in attentions.values() for layer in attention.group.layers)
    groups: dict[Kind, list[ChannelGroup]] = {"heads": [attention.group for attention in attentions.values()], "neurons": []}
    if config.mlp_ratio:
        groups["neurons"] = list(hidden_neurons(smaller, data.example, taken))
    why_whole = _why_whole([*groups["heads"], *groups["neurons"]], config.keep)
    attentions = {name: _regrouped(smaller, one, config, data) if config.fraction else one for name, one in attentions.items()}
    groups["heads"] = [attention.group for attention in attentions.values()]
    chosen = {
        kind: _chosen(smaller, kind, [group for group in found if not why_whole[group.layer]], config, data)
        for kind, found in groups.items()
    }
    if not any(units for removed in chosen.values() for units in removed.values()):
        raise (Impossible if all(why_whole.values()) else StageError)(_nothing(why_whole))
    if config.refit:
        refit_(smaller, [group for found in groups.values() for group in found], chosen["heads"] | chosen["neurons"], data.calibration)
    for name, units in chosen["heads"].items():
        remove_heads_(smaller, attentions[name], units)
    remove_channels_(smaller, groups["neurons"], chosen["neurons"])
    _put_back_(smaller, model, [name for name in opened if not chosen["heads"].get(name)])
    rows = tuple(
        (group.layer, kind, group.channels, group.channels - len(chosen[kind].get(group.layer, ())), why_whole[group.layer])
        for kind, found in groups.items()
        for group in found
    )
    details: dict[str, Any] = {str(kind): {row[0]: [row[2], row[3]] for row in rows if row[1] == kind} for kind in groups}
    return Edited(smaller, listings=(Listing("Attention heads and hidden neurons", COLUMNS, rows),), details=details)


def _chosen(model: nn.Module, kind: Kind, groups: Sequence[ChannelGroup], config: HeadsParams, data: MethodData) -> Removed:
    """The weakest heads, or neurons, of each group."""
    amount, multiple = (config.fraction, 1) if kind == "heads" else (config.mlp_ratio, config.round_to)
    if not groups or not amount:
        return {}
    scores = _scores(model, groups, config, data, heads=kind == "heads")
    return weakest(scores, kept_counts(scores, groups, _channels(config, amount, multiple), amount, {}))


def _scores(
    model: nn.Module, groups: Sequence[ChannelGroup], config: HeadsParams, data: MethodData, *, heads: bool
) -> Mapping[str, Tensor]:
    if config.criterion == "activation":
        return activation_scores(model, groups, data.calibration)
    if heads and config.criterion == "output_change":
        return {group.layer: output_changes(model, group, data) for group in groups}
    return channel_scores(model, groups, _channels(config, 0.0, 1), data)


def _channels(config: HeadsParams, amount: float, multiple: int) -> ChannelsParams:
    """The same choice among channels."""
    shared = config.model_dump(include={"source", "scope", "samples"})
    criterion: Literal["l2", "taylor", "random"] = "l2"
    if config.criterion in ("taylor", "random"):
        criterion = config.criterion
    return ChannelsParams(method="channels", ratio=amount, round_to=multiple, criterion=criterion, **shared)


def _regrouped(model: nn.Module, attention: AttentionHeads, config: HeadsParams, data: MethodData) -> AttentionHeads:
    """Where as many query heads of each key/value head go: its weakest one is of the first unit, and so on."""
    each, units = attention.each, attention.group.channels
    if each is None or attention.group.why_whole or units == each.channels:
        return attention
    scores = _scores(model, [each], config, data, heads=True)[each.layer].view(-1, units)
    return with_places(attention, scores.argsort(dim=1, stable=True).argsort(dim=1).flatten())


def _why_whole(groups: Sequence[ChannelGroup], keep: Sequence[str]) -> Mapping[str, str]:
    """Why a group stays whole, empty where it does not; its own name and those of its layers may be named in `keep`."""
    names = {group.layer: {group.layer, *group.layers} for group in groups}
    known = sorted(set().union(*names.values()))
    kept = matching(keep, known, "prune: keep", "attention and no hidden layer")
    return {group.layer: "named in keep" if kept & names[group.layer] else group.why_whole for group in groups}


def _put_back_(smaller: nn.Module, model: nn.Module, unchanged: Sequence[str]) -> None:
    """Give attention that lost no head its own type again, and encoders that hold nothing else their own way with padding."""
    for name in unchanged:
        smaller.set_submodule(name, copy.deepcopy(model.get_submodule(name)).eval(), strict=True)
    for name, encoder in smaller.named_modules():
        if isinstance(encoder, nn.TransformerEncoder) and not any(isinstance(layer, Attention) for layer in encoder.modules()):
            encoder.use_nested_tensor = cast("nn.TransformerEncoder", model.get_submodule(name)).use_nested_tensor


def _nothing(why_whole: Mapping[str, str]) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in why_whole.items() if reason)
    if not why_whole:
        return "prune: heads found no hidden neurons between Linear layers; use method channels"
    why = f" ({reasons})" if reasons else ": fraction and mlp_ratio round to none of so few"
    return f"prune: heads found none that can go{why}; raise fraction or mlp_ratio, or name less in keep"
