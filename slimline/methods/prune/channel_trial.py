"""Try each group of channels before anything is removed: code can hide how many channels it counts on (a width, a number of heads)."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, Tensors, clone, tensors
from slimline.methods.prune.channel_flow import FAILURES, Even
from slimline.methods.prune.channel_groups import ChannelGroup, channel_groups
from slimline.methods.prune.channel_removal import remove_channels, without_reading
from slimline.methods.prune.frozen_norms import Factors, hold_still_, norm_factors
from slimline.methods.prune.probe_inputs import reaching

TRIED = 4
"""One channel in so many is removed in a trial."""
TOLERANCE, ROUNDING = 1e-3, 1e-5


class Trial:
    """Removes channels of some groups, and compares with not reading them."""

    def __init__(self, model: nn.Module, groups: Sequence[ChannelGroup], inputs: Batch) -> None:
        self.model, self.inputs = model, inputs
        whole = copy.deepcopy(model).eval()
        names = dict.fromkeys(place.module for group in groups for place in group.slices)
        self.trained_alone = tuple(sorted(_ran(model, inputs, training=True) - _ran(model, inputs, training=False)))
        self.factors = norm_factors(whole, names, inputs)
        self.outputs = _outputs(whole, self.factors, inputs)

    def problem(self, groups: Sequence[ChannelGroup]) -> str:
        """What goes wrong when some channels of these groups are removed together; empty where nothing does."""
        tried = zip(*(tried_channels(group.channels, seed) for seed, group in enumerate(groups)), strict=True)
        trials = ({group.layer: channels for group, channels in zip(groups, sets, strict=True)} for sets in tried)
        return next(filter(None, (self.without(groups, removed) for removed in trials)), "")

    def without(self, groups: Sequence[ChannelGroup], removed: Mapping[str, Sequence[int]]) -> str:
        """What goes wrong when these channels are removed; empty where nothing does."""
        expected = _outputs(without_reading(self.model, groups, removed), self.factors, self.inputs)
        smaller = remove_channels(self.model, groups, removed)
        if self.trained_alone and not _ran(smaller, self.inputs, training=True):
            return f"{self.trained_alone[0]}, which runs in training alone, would not fit"
        try:
            found = _outputs(smaller, self.factors, self.inputs)
        except FAILURES as error:
            return f"the model does not run without some of its channels: {' '.join(str(error).split())[:120]}"
        if not _same_shapes(found, expected):
            return "the outputs would change their shape"
        if same_outputs(found, expected, self.outputs):
            return ""
        return "channels that are removed are not those that the layers behind stop reading"


def removable_groups(model: nn.Module, example: Batch) -> tuple[ChannelGroup, ...]:
    """The groups of `channel_groups`, `why_whole` also set where a trial fails: removing must be the same as not reading a channel.

    Where some fail, views that split channels (a channel shuffle) are taken for what asks more, and what frees most of the channels is
    used. Norms across channels are held still for the trial, as they answer to every channel that goes.
    """
    found: list[tuple[ChannelGroup, ...]] = []
    inputs = reaching(model, example)
    for even in get_args(Even):
        groups = channel_groups(model, example, even)
        trial = Trial(model, groups, inputs)
        if not trial.problem([group for group in groups if not group.why_whole]):
            found.append(groups)
            break
        found.append(_one_after_another(trial, groups))
    return max(found, key=_freed)


def _one_after_another(trial: Trial, groups: Sequence[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """The groups, of which each that does not go along with those before it stays whole."""
    tried: list[ChannelGroup] = []
    for group in groups:
        free = [one for one in tried if not one.why_whole]
        tried.append(dataclasses.replace(group, why_whole=group.why_whole or trial.problem([*free, group])))
    return tuple(tried)


def _freed(groups: Sequence[ChannelGroup]) -> int:
    """How many channels of layers can be chosen from."""
    return sum(int((place.channel >= 0).sum()) for group in groups if not group.why_whole for place in group.slices if not place.reads)


def tried_channels(channels: int, seed: int) -> tuple[list[int], ...]:
    """Which of so many channels go in each trial: one in four, by chance (twice), the first, the last, and at even distances.

    One-sided sets and chance tell apart what a regular pattern does not: halves that lose alike fit each other by luck.
    """
    some = max(1, channels // TRIED)
    generator = torch.Generator().manual_seed(seed)
    chance = [torch.randperm(channels, generator=generator)[:some].sort().values.tolist() for _ in range(2)]
    return *chance, list(range(some)), list(range(channels - some, channels)), list(range(0, channels, TRIED))


def same_outputs(found: Tensors, expected: Tensors, whole: Tensors) -> bool:
    """Whether outputs are those expected, but for a small share of what the loss changed of the whole model's and for rounding."""
    if not _same_shapes(found, expected):
        return False
    triples = zip(*(tensors(outputs).values() for outputs in (found, expected, whole)), strict=True)
    return all(_same(*triple) for triple in triples)


def _same_shapes(found: Tensors, expected: Tensors) -> bool:
    one, other = ({name: value.shape for name, value in tensors(outputs).items()} for outputs in (found, expected))
    return one == other


def _same(found: Tensor, expected: Tensor, whole: Tensor) -> bool:
    found, expected, whole = (_numbers(one) for one in (found, expected, whole))
    return bool((found - expected).norm() <= TOLERANCE * (expected - whole).norm() + ROUNDING * expected.norm())


def _numbers(output: Tensor) -> Tensor:
    return (output.detach() if output.is_floating_point() else output.double()).nan_to_num()


def _ran(model: nn.Module, inputs: Batch, *, training: bool) -> set[str]:
    """The modules that a copy runs, in one mode; none where it cannot (a batch norm that is given one value, a layer that does not fit)."""
    twin, ran = copy.deepcopy(model).train(training), set[str]()
    for name, module in twin.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: ran.add(name))
    try:
        with torch.no_grad():
            twin(**clone(inputs))
    except FAILURES:
        return set()
    return ran


def _outputs(model: nn.Module, factors: Factors, inputs: Batch) -> Tensors:
    """The outputs of `model`, whose norms are held still for good."""
    hold_still_(model, factors)
    with torch.no_grad():
        outputs: Tensors = model(**inputs)
    return outputs
