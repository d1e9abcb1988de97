"""Which channel of which layer each element of each tensor belongs to while a model runs, and which channels must go together.

Every layer that makes channels gives its outputs fresh numbers; each operation hands them on, whatever the model's code looks like: a
view moves the numbers as it moves the values, an element-wise operation makes one unit of the channels that meet (values and their
gates, both ends of a residual connection), any other operation is asked by running it (channel_probe.py). What parts channels evenly
(chunk, every other one) needs as many left in each part, so channels at the same place of each part are one unit.
The idea of groups is that of Fang et al. 2023, "DepGraph: Towards any structural pruning" (arXiv 2301.12900); numbers of channels instead
of a table of operations follow views, splits and concatenations through any code.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from slimline.methods.prune.channel_probe import made_of
from slimline.methods.prune.channel_units import NOBODY, Units

FAILURES = (RuntimeError, ValueError, IndexError, AssertionError)
"""What torch raises where channels cannot be followed, or shapes do not fit."""
Even = Literal["", "outer", "inner"]
"""Of a view that makes two dimensions of one with channels: nothing more is asked, or as many must be left in each line of the first
(outer; the code fixes how many lines there are), or of the second (inner)."""
FILLED_LIKE = frozenset(f"{name}_like" for name in ("zeros", "ones", "full", "empty", "rand", "randn"))
PARTING = frozenset({"split", "split_with_sizes", "unbind", "select", "slice", "channel_shuffle"})
COPIES = frozenset({"clone", "_to_copy", "copy_"})


class ChannelFlow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers every tensor that is made while it is active, unless a layer is `inside`, whose inputs and outputs its hooks number."""

    def __init__(self, units: Units, even: Even) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.units, self.even, self.inside = units, even, 0
        self._channels: Any = WeakTensorKeyDictionary()
        self._fixed: Any = WeakTensorKeyDictionary()

    def channels(self, values: Tensor) -> Tensor:
        """The channel of each element: int64 of the same shape."""
        if values not in self._channels:
            self._channels[values] = torch.full_like(values, NOBODY, dtype=torch.long, requires_grad=False)
        found: Tensor = self._channels[values]
        return found

    def number(self, values: Tensor, channels: Tensor) -> None:
        """Say which channels these values are of; where they were numbered before, all views of them are numbered anew."""
        if values in self._channels and self._channels[values].shape == channels.shape:
            self._channels[values].copy_(channels)
        else:
            self._channels[values] = torch.empty_like(values, dtype=torch.long, requires_grad=False).copy_(channels)

    def fix(self, values: Tensor, what: str) -> None:
        """Say that these values are of no channel that could go, and what made them."""
        self._fixed[values] = what

    def __torch_dispatch__(self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run the operation, and number what it makes."""
        options = kwargs or {}
        if self.inside:
            return func(*args, **options)
        given = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        name, holds = func.overloadpacket.__name__, any(self._holds(one) for one in given)
        is_view = func.is_view or name == "_unsafe_view"
        is_plain = is_view or torch.Tag.pointwise in func.tags or name in FILLED_LIKE | COPIES
        probed = self._probed(func, name, args, options) if holds and not is_plain else []
        if holds and name in PARTING:
            _join_parts(self.units, func, self.channels(args[0]), args, options)
        result = func(*args, **options)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if is_view:
            self._view(func, name, args, options, made)
        elif holds and is_plain:
            self._meet(made[0], given[-1:] if name == "copy_" else given)
        for one, channels in zip(made, probed, strict=False):
            self.number(one, channels)
        self._hand_on(given, made, f"a {name}" if holds and not is_plain and not probed else "")
        return result

    def _holds(self, values: Tensor) -> bool:
        return values in self._channels and bool((self._channels[values] != NOBODY).any())

    def _hand_on(self, given: Sequence[Tensor], made: Sequence[Tensor], what: str) -> None:
        """What is made of fixed values is fixed as they are."""
        what = what or next((self._what(one) for one in given if self._what(one)), "")
        for one in made if what else ():
            self._fixed.setdefault(one, what)

    def _what(self, values: Tensor) -> str:
        """What fixed values are; empty for others, also for constants, which may follow the width of the layers."""
        if isinstance(values, nn.Parameter):
            return f"a {type(values).__name__}"
        return str(self._fixed.get(values, ""))

    def _view(self, func: Any, name: str, args: Sequence[Any], options: Mapping[str, Any], made: Sequence[Tensor]) -> None:
        """Views of the numbers stand beside views of the values, so that what is written into one is seen in all."""
        channels = self.channels(args[0])
        for one in made if self.even else ():
            _join_split(self.units, channels, one.shape, self.even)
        try:
            views = tree_leaves(func(channels, *args[1:], **options))
        except FAILURES:
            views = []
        if [one.shape for one in views] != [one.shape for one in made]:
            self.units.keep(channels, f"its channels run through {name}")
        for one, view in zip(made, views, strict=False):
            self._channels[one] = view

    def _meet(self, made: Tensor, given: Sequence[Tensor]) -> None:
        """Element by element: channels that meet are one unit; one that meets what is fixed and as wide is kept."""
        together = torch.full(made.shape, NOBODY)
        wide = {one: self.channels(one).expand(made.shape) for one in given if one.dim() and one.numel() > 1}
        for channels in wide.values():
            self.units.join(together, channels)
            together = torch.where(together == NOBODY, channels, together)
        for one in wide:
            if (what := self._what(one)) and not self._holds(one) and _varies_along(together, one):
                self.units.keep(together, f"its channels run through {what}")
        self.number(made, together)

    def _probed(self, func: Any, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> list[Tensor]:
        """The channels of the outputs; none, and those of the inputs are kept, where the operation cannot say."""
        given = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        direct = [one for one in (*args, *options.values()) if isinstance(one, Tensor) and one.is_floating_point() and one.numel() > 1]
        try:
            if len(direct) < 2:
                return made_of(func, args, options, self.channels, self.units)
        except FAILURES:
            pass
        for one in given:
            self.units.keep(self.channels(one), f"its channels run through {name}")
        return []


def _varies_along(channels: Tensor, fixed: Tensor) -> bool:
    """Whether the channels differ along a dimension that the fixed tensor, broadcast to them, fills."""
    for dim in range(1, fixed.dim() + 1):
        lines = channels.movedim(-dim, 0)
        if fixed.shape[-dim] > 1 and bool((lines[1:] != lines[:-1]).any()):
            return True
    return False


def _join_parts(units: Units, func: Any, channels: Tensor, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Channels at the same place of equal parts go together: as many must be left in each."""
    names = [argument.name for argument in func._schema.arguments]
    given = {argument.name: argument.default_value for argument in func._schema.arguments}
    given |= dict(zip(names, args, strict=False)) | dict(options)
    dim = given.get("dim", 1)
    part, step = _part(func.overloadpacket.__name__, given, channels.shape[dim])
    if part:
        lines = channels.movedim(dim, 0).reshape(channels.shape[dim], -1)
        parts = lines.view(-1, step, lines.shape[1]).transpose(0, 1) if step > 1 else lines.view(-1, part, lines.shape[1])
        units.join(parts[:1].expand_as(parts), parts)


def _join_split(units: Units, channels: Tensor, shape: Sequence[int], even: Even) -> None:
    """Channels at the same place of each line go together where a view makes two or more dimensions of one."""
    ahead = 1
    for dim, size in enumerate(channels.shape):
        first = next((place for place in range(len(shape)) if math.prod(shape[:place]) == ahead and 1 < shape[place] < size), None)
        if first is not None and size % shape[first] == 0 and math.prod(shape[: first + 1]) % ahead == 0:
            lines = channels.movedim(dim, 0).reshape(shape[first], size // shape[first], -1)
            lines = lines if even == "outer" else lines.transpose(0, 1)
            units.join(lines[:1].expand_as(lines), lines)
        ahead *= size


def _part(name: str, given: Mapping[str, Any], whole: int) -> tuple[int, int]:
    """The length of each of the equal parts of a `whole`, and the step between its elements; 0 where there are none."""
    start, step = 0, 1
    if name == "split":
        part = given["split_size"]
    elif name == "split_with_sizes":
        part = given["split_sizes"][0] if len(set(given["split_sizes"])) == 1 else whole
    elif name == "channel_shuffle":
        part = whole // given["groups"]
    elif name == "slice":
        start, end, _ = slice(given["start"], given["end"]).indices(whole)
        step = given["step"]
        part = end - start if step == 1 else whole // step
    else:
        part = 1
    fits = 0 < part < whole and whole % part == 0 and whole % step == 0 and (step > 1 or start % part == 0)
    return (part, step) if fits else (0, 0)
