"""Remove whole channels and neurons along the dependency graph, so that shapes shrink and residuals still fit.

Fang et al. 2023, "DepGraph: Towards any structural pruning" (arXiv 2301.12900). Which channels go together: channel_groups.py; what
each is worth: channel_scores.py; how many stay: channel_counts.py, and for a budget channel_target.py.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from slimline.data.batch import Batch, tensors
from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited, Listing
from slimline.methods.name_patterns import matching
from slimline.methods.prune.channel_counts import Counts, kept_counts, weakest
from slimline.methods.prune.channel_flow import FAILURES
from slimline.methods.prune.channel_groups import ChannelGroup, channel_groups
from slimline.methods.prune.channel_layers import is_root, width_of
from slimline.methods.prune.channel_removal import remove_channels
from slimline.methods.prune.channel_scores import channel_scores
from slimline.methods.prune.channel_target import least_ratio, measure_of
from slimline.methods.prune.channel_trial import removable_groups
from slimline.methods.prune.schedule import stepwise
from slimline.params import ChannelsParams

Shape = Mapping[str, tuple[int, ...]]
"""Of each output by its name."""
COLUMNS = ("layers", "channels", "left", "why whole")
MEASURED = "Measured anew on ONNX Runtime (float32, one thread, one sample): {:.1%} of the source's time is left."
WAY_OUT = "name the layers around it in keep, or ask for another amount"
NOTE = "Layers of one row lose the same channels, values together with their gates; what reads them shrinks with them."


def channels(model: nn.Module, config: ChannelsParams, *, data: MethodData) -> Edited:
    """Return a smaller copy in evaluation mode: groups of coupled layers lose the channels that are worth least.

    How many, by `config`: a share (`ratio`), those below a `threshold`, or as many as leave a share of the parameters, MACs or measured
    latency. The layers that give the model's output, what `keep` names and what cannot be removed without harm stay whole; the listing
    says why. `data.seed` decides for `criterion: random`, and which samples `taylor` sees.

    Raises:
        InputError: `only` or `keep` names no layer.
        StageError: the model cannot be traced, no channel can go, the budget is out of reach, or the pruned model's outputs have another
            shape.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval().requires_grad_(True))
    groups = _chosen(removable_groups(model, data.example), model, config)
    shape = _output_shape(copy.deepcopy(model).eval(), data.example)
    cut = _Cut(model, tuple(group for group in groups if not group.why_whole), config, data, shape)
    if not cut.groups:
        reasons = "; ".join(f"{group.layer}: {group.why_whole}" for group in groups) or "every layer gives the model's output"
        raise Impossible(f"prune: channels found none to remove in this model ({reasons})")
    made = stepwise(model, config, data, cut, final=config.strength)
    counted = ("parameters", "macs", *(["latency"] if config.latency else []))
    left = {name: measure_of(name, data)(made.model) / measure_of(name, data)(model) for name in counted}
    notes = (MEASURED.format(left["latency"]),) if config.latency else ()
    rows = tuple(_row(group, made.model) for group in groups)
    details = {**made.details, "left": left, "channels": {row[0]: list(row[1:3]) for row in rows}}
    listings = (Listing("Channels by group", COLUMNS, rows, NOTE), *made.listings)
    return dataclasses.replace(made, listings=listings, notes=(*made.notes, *notes), details=details)


@dataclass(frozen=True)
class _Cut:
    """Takes a model, which may have lost channels already, to an amount of what `source` had."""

    source: nn.Module
    groups: tuple[ChannelGroup, ...]
    config: ChannelsParams
    data: MethodData
    shape: Shape

    def __call__(self, model: nn.Module, amount: float) -> nn.Module:
        """A copy of `model` with as few channels as a ratio, a threshold or a budget of `amount` asks for."""
        names = {group.layer for group in self.groups}
        groups = [group for group in channel_groups(model, self.data.example, self.groups[0].even) if group.layer in names]
        scores = channel_scores(model, groups, self.config, self.data)
        sensitivity = self._sensitivity()

        def counts_at(ratio: float) -> Counts:
            return kept_counts(scores, self.groups, self.config, ratio, sensitivity)

        def removed(counts: Counts) -> nn.Module:
            smaller = remove_channels(model, groups, weakest(scores, counts))
            _require_outputs(smaller, self.data.example, self.shape)
            return smaller

        if self.config.amount in ("ratio", "threshold"):
            return removed(counts_at(amount))
        measure = measure_of(self.config.amount, self.data)
        whole = measure(self.source)
        ratio, _ = least_ratio(counts_at, lambda counts: measure(removed(counts)) / whole, 1 - amount, self.config.amount)
        return removed(counts_at(ratio))

    def _sensitivity(self) -> Mapping[str, float]:
        """How far the outputs move without half of a group's channels: the most of any of its layers."""
        if self.config.scope != "sensitivity":
            return {}
        if self.data.sensitivity is None:
            raise StageError("prune: channels: no sensitivity was measured here; set scope: local or global in params.yaml")
        measured = self.data.sensitivity("channels")
        found = {group.layer: [measured[name] for name in group.layers if name in measured] for group in self.groups}
        return {layer: max(changes) for layer, changes in found.items() if changes}


def _chosen(groups: Sequence[ChannelGroup], model: nn.Module, config: ChannelsParams) -> tuple[ChannelGroup, ...]:
    """The groups, with those that `only` and `keep` leave whole marked so."""
    layers = [name for name, module in model.named_modules() if is_root(module)]
    only, keep = (matching(getattr(config, key), layers, f"prune: {key}") for key in ("only", "keep"))

    def why_whole(group: ChannelGroup) -> str:
        if keep & set(group.layers):
            return "named in keep"
        return "not named in only" if config.only and not only & set(group.layers) else group.why_whole

    return tuple(dataclasses.replace(group, why_whole=why_whole(group)) for group in groups)


def _require_outputs(smaller: nn.Module, example: Batch, shape: Shape) -> None:
    """The pruned model runs, to outputs of this shape: a trial removes other numbers of channels than are asked for."""
    try:
        found = _output_shape(smaller, example)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:120]
        raise StageError(f"prune: channels: the model does not run with as many channels as are left ({reason}); {WAY_OUT}") from error
    if found != shape:
        raise StageError(f"prune: channels gave outputs of shape {_shown(found)}, was {_shown(shape)}; {WAY_OUT}")


def _output_shape(model: nn.Module, example: Batch) -> Shape:
    """Of a model in evaluation mode: in training mode batch norms would learn from the example."""
    with torch.no_grad():
        return {name: tuple(output.shape) for name, output in tensors(model(**example)).items()}


def _shown(shape: Shape) -> str:
    return ", ".join(f"{name} {sizes}".lstrip() for name, sizes in shape.items())


def _row(group: ChannelGroup, model: nn.Module) -> tuple[str, int, int, str]:
    """One line of the listing: how many channels a group had, and has now."""
    left = width_of(model.get_submodule(group.layer))
    return " + ".join(group.layers), group.channels * group.blocks, left, group.why_whole
