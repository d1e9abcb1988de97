"""Cross-layer equalisation: neighbouring layers' channels scaled against each other until their weights have equal ranges."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn

from slimline.data.batch import Batch
from slimline.methods.layer_calls import hooked, on_input
from slimline.methods.quantize.dataflow import LINEAR, Dataflow, dataflow, operand, shape
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import Layer
from slimline.training.fit import predict

ROUNDS = 20
SETTLED = 1e-3
CEILING = 6.0
MAX_CLIPPED_SHARE = 1e-5

_aten = torch.ops.aten
POINTWISE = (_aten.relu.default, _aten.relu_.default, _aten.leaky_relu.default, _aten.leaky_relu_.default, _aten.dropout.default)
CLIPPING = (_aten.hardtanh.default, _aten.hardtanh_.default, _aten.relu6.default)
POOLING = (
    _aten.max_pool1d.default,
    _aten.max_pool2d.default,
    _aten.avg_pool1d.default,
    _aten.avg_pool2d.default,
    _aten.adaptive_avg_pool1d.default,
    _aten.adaptive_avg_pool2d.default,
)
RESHAPING = (_aten.flatten.using_ints, _aten.view.default, _aten.reshape.default)
MEAN = _aten.mean.dim


@dataclass(frozen=True)
class Pair:
    """Two layers, the second of which alone reads the first, through nothing that a factor per channel cannot pass.

    A channel of the first is `repeats` neighbouring inputs of the second (flattened positions); `clipped_by` are the nn.ReLU6
    between them.
    """

    first: str
    second: str
    repeats: int
    clipped_by: tuple[str, ...]


@dataclass(frozen=True)
class Equalized:
    """The equalised model, the pairs that were scaled, and the nn.ReLU6 that became nn.ReLU."""

    model: nn.Module
    pairs: tuple[Pair, ...] = ()
    replaced: tuple[str, ...] = ()


def equalize(model: nn.Module, *, example: Batch, calibration: Batch, strength: float = 1.0) -> Equalized:
    """A copy with batch norms folded that computes the same with other weight ranges; strength 0 is a plain copy.

    Channel i of a pair is divided by s = sqrt(r1 * r2) / r2 in the first layer and multiplied by s in the second, r being the
    channel's largest weights, over all pairs until nothing moves; `strength` is the power of s in each step. A factor passes
    ReLU, leaky ReLU, pooling and flattening, not ReLU6: one that clips at most 1 in 100,000 of the values that `calibration`
    brings it becomes nn.ReLU; the pairs around another are left alone. The paper replaces them all, which on our depthwise
    net costs more (31 dB at 1 in 1,000, 74 dB at 1 in 100,000) than int8 itself (33 dB). Nagel et al. 2019, arXiv:1906.04721, section 4.1.

    Raises:
        StageError: torch.export cannot follow the model.
    """
    folded = fold_batchnorm(model, example)
    if strength == 0:
        return Equalized(folded)
    shares = clipped_shares(folded, calibration)
    passing = {name for name, share in shares.items() if share <= MAX_CLIPPED_SHARE}
    found = tuple(pair for pair in pairs(dataflow(folded, example)) if passing.issuperset(pair.clipped_by))
    replaced = tuple(dict.fromkeys(name for pair in found for name in pair.clipped_by))
    for name in replaced:
        folded.set_submodule(name, nn.ReLU().eval(), strict=True)
    for _ in range(ROUNDS):
        moved = [_scale_(folded, pair, strength) for pair in found]
        if max(moved, default=0.0) < SETTLED:
            break
    return Equalized(folded, found, replaced)


def pairs(flow: Dataflow) -> Iterator[Pair]:
    """The pairs of layers that can be scaled against each other, ReLU6 between them or not."""
    for node, name in flow.layers.items():
        axis, repeats, clipped_by, current = _channel_axis(node), 1, list[str](), node
        while len(current.users) == 1 and operand(following := next(iter(current.users)), 0) is current:
            if following in flow.layers:
                if axis == _channel_axis(following):
                    yield Pair(name, flow.layers[following], repeats, tuple(clipped_by))
                break
            passed = _passed(following, axis)
            if passed is None:
                break
            axis, repeats = passed[0], repeats * passed[1]
            if following.target in CLIPPING:
                clipped_by.append(_module_name(following))
            current = following


def clipped_shares(model: nn.Module, inputs: Batch) -> dict[str, float]:
    """Name of each nn.ReLU6 -> the share of what it receives that is above 6."""
    counts: dict[str, list[int]] = {}

    def note(name: str, _: nn.Module, values: Tensor) -> None:
        clipped, seen = counts.get(name, [0, 0])
        counts[name] = [clipped + int((values > CEILING).sum()), seen + values.numel()]

    found = {name: module for name, module in model.named_modules() if type(module) is nn.ReLU6}
    handles = [on_input(module, functools.partial(note, name)) for name, module in found.items()]
    if handles:
        with hooked(handles):
            predict(model, inputs)
    return {name: clipped / seen for name, (clipped, seen) in counts.items()}


def _passed(node: fx.Node, axis: int) -> tuple[int, int] | None:
    """Where the channels are after an operation, and how many neighbours each became; None where a factor does not pass."""
    source = operand(node, 0)
    if source is None or not shape(node):
        return None
    before, after = shape(source), shape(node)
    if node.target in POINTWISE or (node.target in CLIPPING and _module_name(node)):
        return axis, 1
    if node.target in POOLING and axis == 1:
        return axis, 1
    if node.target is MEAN:
        averaged = [dim % len(before) for dim in cast("list[int]", node.args[1])]
        kept = len(after) == len(before)
        return None if axis in averaged else (axis if kept else axis - sum(dim < axis for dim in averaged), 1)
    if node.target in RESHAPING and axis == 1 and len(after) == 2 and after[0] == before[0]:
        return 1, after[1] // before[1]
    return None


def _module_name(node: fx.Node) -> str:
    """The nn.ReLU6 that an operation is the whole of; empty where it is something else."""
    *_, (path, kind) = node.meta.get("nn_module_stack", {"": ("", "")}).values()
    return str(path).partition("@")[0] if str(kind).endswith("ReLU6") or kind is nn.ReLU6 else ""


def _channel_axis(node: fx.Node) -> int:
    """Where the channels are in what a layer makes; its inputs have theirs at the same place."""
    return len(shape(node)) - 1 if node.target is LINEAR else 1


def _scale_(model: nn.Module, pair: Pair, strength: float) -> float:
    """Scale one pair in place; how far the factors are from one."""
    first, second = (cast("Layer", model.get_submodule(name)) for name in (pair.first, pair.second))
    first_range = first.weight.detach().flatten(1).abs().amax(dim=1)
    grouped = _by_input(second)
    second_range = grouped.abs().amax(dim=(1, 3)).reshape(len(first_range), pair.repeats).amax(dim=1)
    alive = (first_range > 0) & (second_range > 0)
    factors = torch.where(alive, (first_range / second_range).sqrt(), torch.ones_like(first_range)) ** strength
    with torch.no_grad():
        first.weight.div_(factors.view(-1, *[1] * (first.weight.dim() - 1)))
        if first.bias is not None:
            first.bias.div_(factors)
        grouped.mul_(factors.repeat_interleave(pair.repeats).view(len(grouped), 1, -1, 1))
    return float(factors.log().abs().max())


def _by_input(layer: Layer) -> Tensor:
    """A view of a layer's weight: [groups, outputs of a group, inputs of a group, kernel]."""
    weight = layer.weight.detach()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    return weight.view(groups, len(weight) // groups, weight.shape[1], -1)
