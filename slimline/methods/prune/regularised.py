"""What the methods share that train with a penalty: the training itself, and the removal of channels that it silenced."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited, Listing
from slimline.methods.fit import FitHistory, Penalty, fit, learning_rates, predict
from slimline.methods.masks import zero_masks
from slimline.methods.prune.channel_groups import ChannelGroup, remove_channels
from slimline.methods.prune.channel_trial import removable_groups
from slimline.params import Training

ORIGINAL = "parametrizations.weight.original"
"""The trained tensor behind a parametrized weight."""


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
    trained, history = fit(
        model,
        data.train,
        config,
        loss=data.loss,
        metric=data.metric,
        validation=data.validation,
        augment=data.augment,
        seed=data.seed,
        masks=_masks(model),
        on_epoch=data.on_epoch,
        penalty=penalty,
        after_step=None if shrink is None else lambda net, rate: shrink(net, rate / total),
        keep="last",
    )
    outputs = predict(trained, data.validation.inputs)
    if bool((outputs == outputs[:1]).all()):
        raise StageError("prune: the penalty left nothing that tells one input from another; lower penalty or training.epochs")
    return trained, history


def coupled_groups(model: nn.Module, data: MethodData) -> tuple[ChannelGroup, ...]:
    """The groups of channels that can be removed.

    Raises:
        StageError: there are none, or the model cannot be traced.
    """
    groups = removable_groups(model, data.example_input)
    removable = tuple(group for group in groups if not group.why_whole)
    if not removable:
        reasons = "; ".join(f"{group.layer}: {group.why_whole}" for group in groups) or "every layer gives the model's output"
        raise StageError(f"prune: no channels of this model can be removed ({reasons})")
    return removable


def without_silent(
    trained: nn.Module, groups: Sequence[ChannelGroup], worth: Mapping[str, Tensor], *, round_to: int, example_input: Tensor
) -> Edited:
    """Remove the channels of no worth: `worth` is a group's layer -> [channels], 0 where a channel does nothing.

    Each group keeps a multiple of `round_to` channels (or all that it has), so a few of no worth may stay.
    """
    removed = {group.layer: _least(worth[group.layer], round_to) for group in groups}
    smaller = remove_channels(trained, groups, removed, example_input)
    rows = tuple(
        (", ".join(group.layers), group.channels, int((worth[group.layer] > 0).sum()), group.channels - len(removed[group.layer]))
        for group in groups
    )
    total, left = sum(row[1] for row in rows), sum(row[3] for row in rows)
    note = f"Of {total:,} channels that could go, {left:,} are left; widths are rounded up to multiples of {round_to}."
    listing = Listing("Channels", ("layers that share them", "before", "not zero after training", "left"), rows, note)
    return Edited(smaller, listings=(listing,), details={"channels": {"before": total, "left": left}})


def _masks(model: nn.Module) -> dict[str, Tensor]:
    """Those of `zero_masks`, by the names that parametrized weights have."""
    gated = {name for name, layer in model.named_modules() if parametrize.is_parametrized(layer, "weight")}
    masks = {name.rpartition(".")[0]: mask for name, mask in zero_masks(model).items()}
    return {f"{name}.{ORIGINAL if name in gated else 'weight'}".lstrip("."): mask for name, mask in masks.items()}


def _least(worth: Tensor, round_to: int) -> list[int]:
    """The channels that go: those of no worth, but never so many that less than a multiple of `round_to` is left."""
    alive = max(1, int((worth > 0).sum()))
    kept = min(len(worth), -(-alive // round_to) * round_to)
    return sorted(torch.argsort(worth, stable=True)[: len(worth) - kept].tolist())
