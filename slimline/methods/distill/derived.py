"""A student that is cut out of its teacher: shares of its width and depth, with the weights that are left.

What couples stays coupled: channels go by the groups of the structured pruner (Fang et al. 2023, arXiv 2301.12900), blocks by the finder
of residual ones. Such a student needs no code, starts from what the teacher knows, and is stored as an edit of it.
"""

from torch import nn

from slimline.data.batch import Batch
from slimline.errors import Impossible
from slimline.methods.distill.fewer_layers import even
from slimline.methods.prune.channel_counts import multiple, weakest
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.methods.prune.channel_removal import remove_channels
from slimline.methods.prune.channel_scores import magnitude_scores
from slimline.methods.prune.channel_trial import removable_groups
from slimline.methods.prune.residual_blocks import others_given, residual_blocks, without_blocks
from slimline.params.student import StudentShape

ROUND_TO = 8
"""Widths are multiples of this, as kernels like them; those of narrower layers stay."""


def derived(teacher: nn.Module, shape: StudentShape, example: Batch) -> nn.Module:
    """A smaller copy in evaluation mode: residual blocks at even distances, and of every layer its channels of the largest weights.

    The layers that give the output stay whole. Batch norm statistics are the teacher's: measure them anew.

    Raises:
        StageError: the model has no residual blocks, or no channels that could go, or cannot be traced.
    """
    shallower = _shallower(teacher, shape.depth, example) if shape.depth < 1 else teacher
    return _narrower(shallower, shape.width, example) if shape.width < 1 else shallower


def _shallower(model: nn.Module, depth: float, example: Batch) -> nn.Module:
    blocks = residual_blocks(model, example)
    if not blocks:
        raise Impossible("distill: student: depth: the model has no residual blocks (x + f(x)) that could go; give a width")
    left = max(1, int(depth * len(blocks) + 0.5))
    if left >= len(blocks):
        raise Impossible(f"distill: student: depth {depth:g} leaves {left} of {len(blocks)} residual blocks; give another, or a width")
    kept = even(len(blocks), left)
    dropped = [name for place, name in enumerate(blocks) if place not in kept]
    return without_blocks(model, dropped, others_given(model, dropped, example))


def _narrower(model: nn.Module, width: float, example: Batch) -> nn.Module:
    groups = [group for group in removable_groups(model, example) if not group.why_whole]
    kept = {group.layer: _left(group, width) for group in groups}
    if all(kept[group.layer] == group.channels for group in groups):
        raise Impossible(f"distill: student: width {width:g}: no channels can be taken from this model; name the student's own settings")
    scores = magnitude_scores(model, groups)
    return remove_channels(model, groups, weakest(scores, kept))


def _left(group: ChannelGroup, width: float) -> int:
    step = multiple(group, ROUND_TO)
    return min(group.channels, max(group.fewest, step * max(1, int(width * group.channels / step + 0.5))))
