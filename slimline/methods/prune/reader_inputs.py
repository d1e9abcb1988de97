"""What linear layers read on the calibration sample, for units that are judged, and made up for, by what their reader loses.

The second moment E[x xᵀ] of a layer's inputs says how much of its output a set of inputs makes: that of W_u x_u has the mean square
tr(W_u E[x_u x_uᵀ] W_uᵀ). Single weights are so judged in Sun et al. 2023, "Wanda" (arXiv 2306.11695), columns in An et al. 2023, "FLAP"
(arXiv 2312.11983). What the kept columns can give of what is lost is a least squares problem of one layer, as in Frantar & Alistarh
2022, "Optimal Brain Compression" (arXiv 2208.11580).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, split
from slimline.data.padding import without_padding
from slimline.methods.layer_calls import note_inputs
from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.channel_removal import Channels
from slimline.methods.transposed import is_linear, is_transposed, matrix, widths

TOGETHER_BYTES = 1_000_000_000
"""Second moments that are held at a time."""
SAMPLES = 8
"""Samples that run through the model at a time."""
DAMPING = 0.01
"""Of the mean square of the inputs, so much holds each column to what it was, so that the least squares problem has one answer."""
TINY = 1e-12


def input_moments(model: nn.Module, names: Sequence[str], inputs: Batch) -> Iterator[tuple[str, Tensor]]:
    """(name, E[x xᵀ] over samples and places, float32 [inputs, inputs]) of linear layers, as many measured in one run as memory is for."""
    waiting = list(dict.fromkeys(names))
    while waiting:
        group = [waiting.pop(0)]
        taken = _bytes(model, group)
        while waiting and taken + _bytes(model, waiting[:1]) <= TOGETHER_BYTES:
            taken += _bytes(model, waiting[:1])
            group.append(waiting.pop(0))
        yield from _measured(model, group, inputs).items()


def activation_scores(model: nn.Module, groups: Sequence[ChannelGroup], inputs: Batch) -> dict[str, Tensor]:
    """A group's layer -> the mean square of what each unit adds to the outputs of its readers, with mean 1: float64 [units]."""
    found = {group.layer: torch.zeros(group.channels, dtype=torch.float64) for group in groups}
    reading = [(group, place) for group in groups for place in group.slices if place.reads and is_linear(model.get_submodule(place.module))]
    for name, moment in input_moments(model, [place.module for _, place in reading], inputs):
        weight = matrix(model.get_submodule(name))
        shares = (weight.T @ weight) * moment
        for group, place in reading:
            if place.module == name:
                found[group.layer] += _by_unit(shares, place.channel, group.channels)
    return {name: score / score.mean().clamp_min(TINY) for name, score in found.items()}


def refit_(model: nn.Module, groups: Sequence[ChannelGroup], removed: Channels, inputs: Batch) -> None:
    """Change the columns that stay of what reads these groups in `model` itself, so that its outputs on `inputs` change least.

    The inputs are those of the whole model; the columns that go are still there.
    """
    gone: dict[str, Tensor] = {}
    for place in (place for group in groups if removed.get(group.layer) for place in group.slices if place.reads):
        if is_linear(model.get_submodule(place.module)):
            lost = torch.isin(place.channel, torch.tensor(list(removed[_owner(groups, place)])))
            gone[place.module] = gone.get(place.module, torch.tensor(False)) | lost
    for name, moment in input_moments(model, list(gone), inputs):
        layer = model.get_submodule(name)
        kept = (~gone[name]).nonzero().flatten()
        fitted = _fitted(matrix(layer), moment, kept)
        with torch.no_grad():
            weight: Tensor = layer.get_parameter("weight")
            weight.index_copy_(0 if is_transposed(layer) else 1, kept, fitted.T if is_transposed(layer) else fitted)


def _fitted(weight: Tensor, moment: Tensor, kept: Tensor) -> Tensor:
    """The columns [outputs, kept] that give W x best, in the mean square, from the kept inputs alone, and stay near what they were."""
    moment, weight64 = moment.double(), weight.double()
    inner = moment[kept][:, kept]
    damping = DAMPING * inner.diagonal().mean().clamp_min(TINY)
    wanted = weight64 @ moment[:, kept] + damping * weight64[:, kept]
    found: Tensor = torch.linalg.solve(inner + damping * torch.eye(len(kept), dtype=torch.float64), wanted.T)
    return found.T.to(weight.dtype)


def _owner(groups: Sequence[ChannelGroup], place: Slice) -> str:
    return next(group.layer for group in groups if any(one is place for one in group.slices))


def _by_unit(shares: Tensor, channel: Tensor, units: int) -> Tensor:
    """The sum of [inputs, inputs] over the square of each unit's inputs."""
    mine = channel >= 0
    member = torch.zeros(len(channel), units)
    member[mine.nonzero().flatten(), channel[mine]] = 1
    return ((shares @ member) * member).sum(0).double()


def _bytes(model: nn.Module, names: Sequence[str]) -> int:
    return sum(4 * widths(model.get_submodule(name))[0] ** 2 for name in names)


def _measured(model: nn.Module, names: Sequence[str], inputs: Batch) -> Mapping[str, Tensor]:
    watched = copy.deepcopy(model).eval()
    moments: dict[str, Tensor] = {}
    rows: dict[str, int] = dict.fromkeys(names, 0)

    def note(name: str, x: Tensor, there: Tensor) -> None:
        flat = without_padding(x, there).reshape(-1, x.shape[-1]).float()
        rows[name] += len(flat)
        moments[name] = moments[name].addmm_(flat.T, flat) if name in moments else flat.T @ flat

    note_inputs(watched, names, split(inputs, SAMPLES), note)
    return {name: moment / rows[name] for name, moment in moments.items()}
