"""Which channels of which layers go together, as plain data by name.

A run of the model (channel_layers.py) finds what must lose the same channels: both ends of a residual connection, a depthwise
convolution and those around it, values and their gates, a batch norm, the inputs of every layer that reads them. A group holds names
and indices alone, so that scores, penalties and gates can be computed on any model of the same shape.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimline.data.batch import Batch
from slimline.methods.prune.channel_flow import Even
from slimline.methods.prune.channel_layers import NORMS, divisions, followed, is_depthwise, is_root
from slimline.methods.prune.channel_units import NOBODY
from slimline.methods.shared_weights import shared_weights
from slimline.methods.transposed import axis

WIDTH = ""
"""In place of a tensor's name: the number of channels of a norm, which may have no tensor that shows it."""
LOST = "its channels run through operations that cannot be followed"


@dataclass(frozen=True)
class Slice:
    """Where the channels of a group stand in one tensor of one layer.

    Index i along dimension `dim` of `tensor` belongs to channel `channel[i]`, or to none of the group where that is -1 (another
    group's share of a concatenation). `reads` is True where the layer reads the channels, False where it makes or passes them.
    """

    module: str
    tensor: str
    dim: int
    channel: Tensor
    reads: bool

    @property
    def name(self) -> str:
        """The tensor's name in the model's state dict."""
        return f"{self.module}.{self.tensor}".lstrip(".")


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together. `layers` are all layers (Linear, convolution, embedding) that make them, `layer` the last of these to run.

    There are `channels` to choose from, each standing at `blocks` places of `layer` (more than 1 where values and gates come from one
    layer, or a grouped convolution or a group norm divides them); `fewest` must stay. `why_whole` says why none of them can go; empty
    where they can. `even` is how views that split channels were taken.
    """

    layer: str
    layers: tuple[str, ...]
    channels: int
    blocks: int
    slices: tuple[Slice, ...]
    why_whole: str = ""
    fewest: int = 1
    even: Even = ""


def channel_groups(model: nn.Module, example: Batch, even: Even = "") -> tuple[ChannelGroup, ...]:
    """Every group of coupled channels but those of the model's output, those of the last layers first; `model` stays as it is.

    `even` says what views ask for that split channels.

    Raises:
        StageError: the model cannot be traced.
    """
    found, shared = followed(model, example, even), shared_weights(model)
    reads, made = ({name: found.units.of(channels) for name, channels in of.items()} for of in (found.reads, found.made))
    given = {unit for channels in found.outputs for unit in torch.unique(found.units.of(channels)).tolist()}
    held = {name: {unit for of in (reads, made) if name in of for unit in of[name].tolist()} for name in found.order}
    groups = []
    for layers in _coupled({name: made[name] for name in reversed(found.order) if name in made}):
        roots = [name for name in layers if is_root(model.get_submodule(name))]
        units = {unit: number for number, unit in enumerate(_distinct(made[name] for name in (*roots, *layers)))}
        if roots and not given & units.keys():
            near = [name for name in found.order if not units.keys().isdisjoint(held[name])]
            slices = tuple(place for name in near for place in _slices(name, model.get_submodule(name), reads, made, units))
            sizes = {name: _sizes(_local(made[name], units)) for name in roots}
            group = _group(model, sizes, len(units), slices, found.units.why_kept(units))
            groups.append(dataclasses.replace(_whole_where_shared(group, shared), even=even))
    return tuple(groups)


def _coupled(made: Mapping[str, Tensor]) -> list[list[str]]:
    """The layers that make the same channels, together."""
    coupled: list[tuple[set[int], list[str]]] = []
    for name, channels in made.items():
        units = set(channels.tolist())
        same = [entry for entry in coupled if entry[0] & units]
        merged = (units.union(*(entry[0] for entry in same)), [layer for entry in same for layer in entry[1]] + [name])
        place = coupled.index(same[0]) if same else len(coupled)
        coupled = [entry for entry in coupled if entry not in same]
        coupled.insert(place, merged)
    return [layers for _, layers in coupled]


def _distinct(channels: Iterable[Tensor]) -> list[int]:
    """Units in the order in which they first stand there."""
    return list(dict.fromkeys(unit for one in channels for unit in one.tolist()))


def _group(model: nn.Module, sizes: Mapping[str, Sequence[int]], channels: int, slices: tuple[Slice, ...], why_kept: str) -> ChannelGroup:
    """The group of layers of which each makes each channel as often as `sizes` says, in the order of the channels."""
    layers = tuple(sizes)
    uneven = next((name for name, counts in sizes.items() if len(set(counts)) > 1), "")
    reasons = (
        why_kept,
        "" if any(place.reads for place in slices) else LOST,
        "" if channels > 1 else "it has a single channel to choose from",
        f"some of its channels would take more of {uneven} with them than others" if uneven else "",
    )
    divided = any(divisions(model.get_submodule(place.module)) > 1 for place in slices)
    why_whole = next(filter(None, reasons), "")
    return ChannelGroup(layers[0], layers, channels, max(sizes[layers[0]]), slices, why_whole, fewest=2 if divided else 1)


def _whole_where_shared(group: ChannelGroup, shared: Mapping[str, str]) -> ChannelGroup:
    """The group, which stays whole where one of its tensors is another layer's too: cut here, it would be no longer."""
    tied = next((place.name for place in group.slices if place.name in shared), None)
    return dataclasses.replace(group, why_whole=group.why_whole or f"{tied} is shared with another layer") if tied else group


def _slices(
    name: str, layer: nn.Module, reads: Mapping[str, Tensor], made: Mapping[str, Tensor], units: Mapping[int, int]
) -> Iterator[Slice]:
    """Where the units stand in a layer's tensors: in those that read them, and in those that make or pass them."""
    makes = name in made
    if name in reads and not is_depthwise(layer):
        yield from _places(name, layer, _local(reads[name], units), reads=makes)
    if makes:
        yield from _places(name, layer, _local(made[name], units), reads=False)


def _places(name: str, layer: nn.Module, channel: Tensor, *, reads: bool) -> Iterator[Slice]:
    """The tensors of a layer that hold these channels, and its WIDTH where no tensor may say how many it has."""
    if not bool((channel != NOBODY).any()):
        return
    if isinstance(layer, NORMS):
        yield Slice(name, WIDTH, 0, channel, reads)
    for tensor in ("weight",) if reads else ("weight", "bias", "running_mean", "running_var"):
        if isinstance(value := getattr(layer, tensor, None), Tensor):
            dim = _dimension(layer, reads=reads) if tensor == "weight" else 0
            step = len(channel) // value.shape[dim] if is_depthwise(layer) else 1
            yield Slice(name, tensor, dim, channel[::step][: value.shape[dim]], reads)


def _dimension(layer: nn.Module, *, reads: bool) -> int:
    """Along which dimension of a layer's weight the channels that it reads or makes lie."""
    if isinstance(layer, nn.Embedding):
        return 1
    if is_depthwise(layer) or not isinstance(layer, _ConvNd):
        return axis(layer, reads=reads)
    return int(reads != layer.transposed)


def _local(channels: Tensor, units: Mapping[int, int]) -> Tensor:
    """The number within the group of each channel's unit, NOBODY for another group's."""
    return torch.tensor([units.get(unit, NOBODY) for unit in channels.tolist()], dtype=torch.long)


def _sizes(channel: Tensor) -> list[int]:
    """How often each channel stands there that does."""
    return list(Counter(channel[channel != NOBODY].tolist()).values())
