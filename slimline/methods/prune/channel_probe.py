"""Which channel each output element of one operation comes from, found by running it: what is NaN going in is NaN coming out.

Channels are told apart by the binary digits of their numbers, so that n channels take 2 log2 n runs. Elements that come from more
than one channel take a run for each channel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from slimline.methods.prune.channel_units import NOBODY, Units

MOST = 4096
"""So many channels are told apart one by one at most."""


@dataclass(frozen=True)
class Operation:
    """An operation on leaves of its arguments, of which some (by place) hold channels, numbered from 0, or NOBODY's."""

    function: Callable[..., Any]
    leaves: Sequence[Any]
    tree: Any
    numbers: Mapping[int, Tensor]
    channels: int

    def reached(self, numbers: Tensor) -> list[Tensor]:
        """Of each output tensor, which elements a change of the channels of these numbers reaches."""
        changed = torch.zeros(self.channels + 1, dtype=torch.bool)  # the last one is NOBODY's
        changed[numbers] = True
        given = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        for place, mine in self.numbers.items():
            given[place] = torch.ones_like(given[place]).masked_fill_(changed[mine], torch.nan)
        args, options = tree_unflatten(given, self.tree)
        made = [leaf for leaf in tree_leaves(self.function(*args, **options)) if isinstance(leaf, Tensor)]
        return [one.isnan() for one in made]


def made_of(function: Callable[..., Any], args: Any, options: Any, channels: Callable[[Tensor], Tensor], units: Units) -> list[Tensor]:
    """The channel of each element of each output tensor: int64 of its shape.

    Elements that come from some channels make these one unit. Those that come from every channel there is, as of a mean over all
    channels, are nobody's, unless the output has the shape of the input, as of a softmax: then each is still its own place's.

    Raises:
        RuntimeError (or another of `FAILURES`): the operation does not run on NaN, or has too many channels.
    """
    leaves, tree = tree_flatten((args, options))
    found = {place: channels(leaf) for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()}
    held = {place: units.of(mine) for place, mine in found.items() if bool(torch.any(mine != NOBODY))}
    names = torch.unique(torch.cat([mine.flatten() for mine in held.values()]))
    names = names[names != NOBODY]
    numbers = {place: torch.where(mine == NOBODY, NOBODY, torch.searchsorted(names, mine)) for place, mine in held.items()}
    operation = Operation(function, leaves, tree, numbers, len(names))
    several, made = _by_digits(operation, len(names))
    if any(bool(some.any()) for some in several):
        _one_by_one(operation, several, made, names, units)
    return [torch.where(number == NOBODY, NOBODY, names[number]) for number in made]


def _by_digits(operation: Operation, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Of each output tensor the elements that come from several channels, and the number of the channel of all others."""
    every = torch.arange(count)
    made = [torch.where(reached, 0, NOBODY) for reached in operation.reached(every)]
    several = [torch.zeros_like(number, dtype=torch.bool) for number in made]
    for digit in range((count - 1).bit_length()):
        ones, zeros = (operation.reached(every[(every >> digit & 1) == value]) for value in (1, 0))
        for number, some, one, zero in zip(made, several, ones, zeros, strict=True):
            some |= one & zero
            number += one.long() << digit
    return several, [number.clamp_max_(count - 1) for number in made]


def _one_by_one(operation: Operation, several: list[Tensor], made: list[Tensor], names: Tensor, units: Units) -> None:
    """Join the channels that meet in one element; `made` is changed to the last of them, or to what `made_of` says of all channels."""
    if len(names) > MOST:
        raise RuntimeError(f"more than {MOST} channels meet")
    times = [torch.zeros_like(number) for number in made]
    for channel in range(len(names)):
        for time, reached in zip(times, operation.reached(torch.tensor([channel])), strict=True):
            time += reached
    inputs = list(operation.numbers.values())
    for number, some, time in zip(made, several, times, strict=True):
        whole = some & (time == len(names))
        own = inputs[0] if len(inputs) == 1 and inputs[0].shape == number.shape else torch.full_like(number, NOBODY)
        number[whole] = own[whole]
        some &= ~whole
    if any(bool(some.any()) for some in several):
        _join_meeting(operation, several, made, names, units)


def _join_meeting(operation: Operation, several: list[Tensor], made: list[Tensor], names: Tensor, units: Units) -> None:
    for number, some in zip(made, several, strict=True):
        number[some] = NOBODY
    for channel in range(len(names)):
        for number, some, reached in zip(made, several, operation.reached(torch.tensor([channel])), strict=True):
            mine = reached & some
            others = number[mine & (number != NOBODY)]
            units.join(names[others], names[channel].expand_as(others))
            number[mine] = channel
