"""What the methods share that train with a penalty: the training itself, and the removal of channels that it silenced."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from slimline.data.batch import flat
from slimline.data.samples import Split, in_order
from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited, Listing
from slimline.methods.prune.channel_counts import multiple
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.methods.prune.channel_removal import remove_channels
from slimline.methods.prune.channel_trial import removable_groups
from slimline.params import Training
from slimline.training.fit import BATCH_SIZE, Penalty, learning_rates, predict
from slimline.training.history import FitHistory
from slimline.training.masks import ORIGINAL, zero_masks

STEEPNESS = 4
COLUMNS = ("layers", "channels", "not zero after training", "left", "why whole")
NOTE = "Widths are rounded up to multiples of {} channels, so a few that are zero may be left."


def train_on(
    model: nn.Module,
    config: Training,
    data: MethodData,
    *,
    penalty: Penalty | None = None,
    shrink: Callable[[nn.Module, float], None] | None = None,
) -> tuple[nn.Module, FitHistory]:
    """Train a copy to the last epoch, with what makes it smaller on the way; weights that are pruned already stay zero.

    `shrink(model, share)` changes the weights after each step; the shares are in proportion to the learning rates and add up to 1, so
    that a penalty does not depend on how many steps there are.

    Raises:
        StageError: the trained model gives the same outputs for every sample.
    """
    total = sum(learning_rates(config, len(data.train)))
    trained, history = data.fitted(
        model,
        config,
        masks=_masks(model),
        penalty=penalty,
        after_step=None if shrink is None else lambda net, rate: shrink(net, rate / total),
        keep="last",
    )
    if _answers_all_alike(trained, data.validation):
        raise StageError("prune: the penalty left nothing that tells one input from another; lower penalty or training.epochs")
    return trained, history


def _answers_all_alike(model: nn.Module, samples: Split) -> bool:
    """Whether a model gives the same for every sample, bit for bit."""
    outputs = (flat(predict(model, batch.inputs)) for batch in in_order(samples, BATCH_SIZE))
    first = next(outputs)
    return all(
        rows.shape[1] == first.shape[1] and torch.equal(rows, first[:1].expand_as(rows)) for rows in itertools.chain([first], outputs)
    )


def coupled_groups(model: nn.Module, data: MethodData) -> tuple[ChannelGroup, ...]:
    """All groups of channels of which some can be removed.

    Raises:
        StageError: none can, or the model cannot be traced.
    """
    groups = removable_groups(model, data.example)
    if not free(groups):
        reasons = "; ".join(f"{group.layer}: {group.why_whole}" for group in groups) or "every layer gives the model's output"
        raise Impossible(f"prune: no channels of this model can be removed ({reasons})")
    return groups


def free(groups: Iterable[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """The groups of which channels can go."""
    return tuple(group for group in groups if not group.why_whole)


def without_silent(trained: nn.Module, groups: Sequence[ChannelGroup], worth: Mapping[str, Tensor], *, round_to: int) -> Edited:
    """Remove the channels of no worth: `worth` is the layer of a free group -> [channels], 0 where a channel does nothing.

    Each group keeps a multiple of `round_to` channels (or all that it has), so a few of no worth may stay.
    """
    removed = {group.layer: _least(worth[group.layer], multiple(group, round_to)) for group in free(groups)}
    smaller = remove_channels(trained, free(groups), removed)
    rows = tuple(_row(group, worth.get(group.layer), removed.get(group.layer, [])) for group in groups)
    listing = Listing("Channels by group", COLUMNS, rows, NOTE.format(round_to))
    return Edited(smaller, listings=(listing,), details={"channels": {row[0]: [row[1], row[3]] for row in rows}})


def weakness(size: Tensor) -> Tensor:
    """What share of the penalty a channel bears: 1 for the group's weakest to 1/16 for its strongest, [channels]."""
    spread = (size.max() - size.min()).clamp_min(torch.finfo(size.dtype).tiny)
    return 2 ** (-STEEPNESS * (size - size.min()) / spread)


def _row(group: ChannelGroup, worth: Tensor | None, removed: Sequence[int]) -> tuple[str, int, int, int, str]:
    alive = group.channels if worth is None else int((worth > 0).sum())
    before, alive, left = (group.blocks * count for count in (group.channels, alive, group.channels - len(removed)))
    return " + ".join(group.layers), before, alive, left, group.why_whole


def _masks(model: nn.Module) -> dict[str, Tensor]:
    """Those of `zero_masks`, by the names that parametrized weights have."""
    gated = {name for name, layer in model.named_modules() if parametrize.is_parametrized(layer, "weight")}
    masks = {name.rpartition(".")[0]: mask for name, mask in zero_masks(model).items()}
    return {f"{name}.{ORIGINAL if name in gated else 'weight'}".lstrip("."): mask for name, mask in masks.items()}


def _least(worth: Tensor, multiple_of: int) -> list[int]:
    """The channels that go: those of no worth, but never so many that less than a multiple is left."""
    alive = max(1, int((worth > 0).sum()))
    kept = min(len(worth), -(-alive // multiple_of) * multiple_of)
    return sorted(torch.argsort(worth, stable=True)[: len(worth) - kept].tolist())
