"""How layers read, pass and make channels, and the run of a model that finds which channels of all layers go together."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from slimline.data.batch import Batch
from slimline.errors import Impossible
from slimline.methods.prune.channel_flow import FAILURES, ChannelFlow, Even
from slimline.methods.prune.channel_units import NOBODY, Units
from slimline.methods.transposed import is_transposed

ROOTS = (_ConvNd, nn.Linear, nn.Embedding)
"""The layers that make channels (with GPT-2's, `is_root`), which are chosen from; others lose those that are coupled with them."""
NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass
class Followed:
    """What a run found: by layer, in the order in which they ran, the channels that it reads and those that it makes."""

    units: Units = field(default_factory=Units)
    reads: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def followed(model: nn.Module, example: Batch, even: Even) -> Followed:
    """Run a copy of `model` in evaluation mode on `example` and follow the channels of every layer.

    Raises:
        StageError: its forward does not run.
    """
    traced = copy.deepcopy(model).eval()
    found = Followed()
    flow = ChannelFlow(found.units, even)
    for name, module in traced.named_modules():
        if (is_followed(module) or _is_opaque(module)) and not _has_one_slope(module):
            watch = _Watch(name, module, found, flow)
            module.register_forward_pre_hook(watch.enter, with_kwargs=True)
            module.register_forward_hook(watch.leave)
    try:
        with torch.no_grad(), flow:
            outputs = traced(**example)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:120]
        raise Impossible(
            f"prune: the model's channels cannot be traced ({reason}); use a method that keeps shapes, as magnitude"
        ) from error
    found.outputs = [flow.channels(one) for one in tree_leaves(outputs) if isinstance(one, Tensor)]
    return found


def is_root(module: object) -> bool:
    """Whether a layer makes channels."""
    return isinstance(module, ROOTS) or is_transposed(module)


def is_followed(module: nn.Module) -> bool:
    """Whether a layer's channels stand in its tensors as they do in any of its kind."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) > 1:
        return False
    return (
        (is_root(module) or isinstance(module, (*NORMS, nn.PReLU)))
        and not parametrize.is_parametrized(module)
        and "weight" in module._parameters
    )


def _has_one_slope(module: nn.Module) -> bool:
    """Whether it is an activation with one parameter for all channels, which is an operation like any other."""
    return isinstance(module, nn.PReLU) and module.num_parameters == 1


def _is_opaque(module: nn.Module) -> bool:
    """Whether a layer of torch has weights of a kind that is not followed."""
    is_torchs = type(module).__module__.startswith("torch.nn.") and bool(module._parameters)
    return not is_followed(module) and (is_torchs or parametrize.is_parametrized(module))


def divisions(module: object) -> int:
    """In how many equal blocks a grouped convolution or group norm divides its channels; 1 where each is a block of its own."""
    if isinstance(module, _ConvNd):
        return 1 if is_depthwise(module) else module.groups
    return module.num_groups if isinstance(module, nn.GroupNorm) and module.num_groups < module.num_channels else 1


def is_depthwise(module: object) -> bool:
    """Whether a convolution makes its channels of one that it reads each."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels


def width_of(layer: Any) -> int:
    """How many channels a layer makes."""
    return int(next(getattr(layer, key) for key in ("out_features", "out_channels", "embedding_dim", "nf") if hasattr(layer, key)))


def channel_dim(module: Any, values: Tensor) -> int:
    """Along which dimension of its inputs and outputs a layer's channels lie, counted from the end: -1 for the last."""
    if isinstance(module, _ConvNd):
        return -1 - len(module.kernel_size)
    if isinstance(module, _InstanceNorm):
        return -int(cast("Any", module)._get_no_batch_dim())
    if isinstance(module, _BatchNorm | nn.GroupNorm | nn.PReLU):
        return 1 - values.dim()
    is_own = isinstance(module, nn.LayerNorm | nn.RMSNorm) and type(module).forward not in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    return -3 if is_own and values.dim() == 4 and values.shape[1] == module.normalized_shape[0] else -1  # a layer norm of pictures


@dataclass
class _Watch:
    """The hooks of one layer, which number what it makes."""

    name: str
    module: Any
    found: Followed
    flow: ChannelFlow
    given: Tensor = field(default_factory=lambda: torch.empty(0))

    def enter(self, _module: nn.Module, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Note which channels the layer reads."""
        self.flow.inside += 1
        given = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        if self.name not in self.found.order:
            self.found.order.append(self.name)
        for one in given if not is_followed(self.module) else ():
            self.found.units.keep(self.flow.channels(one), f"its channels run through a {_kind(self.module)}")
        if is_followed(self.module) and not isinstance(self.module, nn.Embedding):
            self.given = self.flow.channels(given[0])
            self._read(self.found.units.join_lines(self.given.movedim(channel_dim(self.module, given[0]), 0).flatten(1)))

    def leave(self, _module: nn.Module, _given: Sequence[Any], outputs: Any) -> None:
        """Number the layer's outputs: anew where it makes channels."""
        for one in [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]:
            if not is_followed(self.module):
                self.flow.fix(one, f"a {_kind(self.module)}")
            elif is_root(self.module):
                dim = channel_dim(self.module, one)
                self.flow.number(one, self._made(one.shape[dim]).view(-1, *[1] * (-1 - dim)).expand(one.shape))
            else:
                self.flow.number(one, self.given)
        self.flow.inside -= 1

    def _read(self, channels: Tensor) -> None:
        """The layer reads these channels, one a line of its weights; those of an earlier call stand in the same lines."""
        before = self.found.reads.get(self.name, channels)
        self.found.units.join(before, channels)
        self.found.reads[self.name] = torch.where(before == NOBODY, channels, before)
        self._divide(channels)

    def _made(self, width: int) -> Tensor:
        if self.name not in self.found.made:
            made = self.found.made[self.name] = self.found.units.fresh(width)
            self._divide(made)
            if is_depthwise(self.module):
                read = self.found.reads[self.name]
                self.found.units.join(read.repeat_interleave(width // len(read)), made)
        return self.found.made[self.name]

    def _divide(self, channels: Tensor) -> None:
        """Each block of a grouped layer must keep as many channels as the others."""
        if (blocks := divisions(self.module)) > 1:
            parts = channels.view(blocks, -1)
            self.found.units.join(parts[:1].expand_as(parts), parts)
            if bool((channels == NOBODY).any()):
                self.found.units.keep(channels, f"{self.name} divides it and other channels into groups")


def _kind(module: nn.Module) -> str:
    return f"parametrized {type(module).__bases__[0].__name__}" if parametrize.is_parametrized(module) else type(module).__name__
