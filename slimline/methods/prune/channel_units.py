"""Which channels must go together: a union of sets of numbers, and why some of them cannot go at all."""

from collections.abc import Iterable

import torch
from torch import Tensor

NOBODY = -1
"""The number of elements that belong to no channel of a layer."""


class Units:
    """Channels by number, in sets that grow together. A set is a unit: its channels go together or stay together."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._kept: dict[int, str] = {}

    def fresh(self, count: int) -> Tensor:
        """So many new channels, each a unit of its own: int64 [count]."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return torch.arange(start, start + count)

    def join(self, first: Tensor, second: Tensor) -> None:
        """Make one unit of the channels that stand at the same place of two tensors of one shape."""
        differ = (first != second) & (first != NOBODY) & (second != NOBODY)
        if bool(differ.any()):
            count = len(self._parents)
            for pair in torch.unique(first[differ] * count + second[differ]).tolist():
                one, other = divmod(pair, count)
                self._parents[self._root(other)] = self._root(one)

    def join_lines(self, lines: Tensor) -> Tensor:
        """Make one unit of each line of [lines, elements]: int64 [lines], NOBODY where a line holds no channel."""
        first = lines.amax(1) if lines.shape[1] else lines.new_full((len(lines),), NOBODY)
        self.join(first[:, None].expand_as(lines), lines)
        return first

    def keep(self, channels: Tensor, why: str) -> None:
        """These cannot go, nor what is joined with them; the first reason counts."""
        for channel in torch.unique(channels[channels != NOBODY]).tolist():
            self._kept.setdefault(channel, why)

    def of(self, channels: Tensor) -> Tensor:
        """The unit of each channel, as the number of one channel in it: int64 of the same shape."""
        numbers, places = torch.unique(channels, return_inverse=True)
        roots = torch.tensor([number if number == NOBODY else self._root(number) for number in numbers.tolist()], dtype=torch.long)
        return roots[places]

    def why_kept(self, units: Iterable[int]) -> str:
        """The first reason for which one of these units cannot go; empty where all can."""
        wanted = set(units)
        return next((why for channel, why in self._kept.items() if self._root(channel) in wanted), "")

    def _root(self, channel: int) -> int:
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel
