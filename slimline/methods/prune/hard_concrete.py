"""Train a gate for each channel with a penalty on how many are open (L0), and remove the channels whose gates are shut.

Louizos et al. 2018, "Learning sparse neural networks through L0 regularization", arXiv:1712.01312. A gate is drawn for every batch
from a stretched and clipped concrete distribution, which is exactly 0 or 1 with some probability and has gradients:

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta),  z = min(1, max(0, s (zeta - gamma) + gamma))
    P(z != 0) = sigmoid(log_alpha - beta log(-gamma / zeta))
"""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.methods.prune.regularised import coupled_groups, free, train_on, without_silent
from slimline.params import HardConcreteParams
from slimline.training.masks import ORIGINAL

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
"""The paper's temperature and stretch."""
OPEN = 3.0
"""Where log_alpha starts: the gate without noise is exactly 1 there, and training starts from the source's own outputs."""


class Gate(nn.Module):
    """One gate a channel of the group at `layer`. `values` [channels + 1] are of the current batch, the last 1 for those without a gate.

    The trained parameter is log_alpha in units of `speed`: as AdamW's steps do not depend on the size of a gradient, log_alpha learns
    `speed` times as fast as the weights.
    """

    def __init__(self, layer: str, channels: int, *, share: float, speed: float) -> None:
        super().__init__()
        self.scaled = nn.Parameter(torch.full((channels,), OPEN / speed))
        self.layer, self.share, self.speed = layer, share, speed
        self.values = torch.ones(channels + 1)

    @property
    def log_alpha(self) -> Tensor:
        """Above 0 for a gate that is rather open, [channels]."""
        return self.scaled * self.speed

    def draw(self) -> None:
        """Draw the gates of a batch in training, or take them without noise in evaluation."""
        logits = self.log_alpha
        if self.training:
            uniform = torch.empty_like(logits).uniform_(1e-6, 1 - 1e-6)
            logits = (uniform.logit() + logits) / BETA
        gates = (logits.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
        self.values = torch.cat([gates, gates.new_ones(1)])

    def expected(self) -> Tensor:
        """`share` times the mean probability that a channel is open."""
        return self.share * (self.log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid().mean()


class GatedWeight(nn.Module):
    """Multiplies a weight by the gates of the channels that the layer reads along dimension `dim`."""

    def __init__(self, gate: Gate, channel: Tensor, dim: int) -> None:
        super().__init__()
        self.gate, self.dim = gate, dim
        self.channel = channel  # no buffer: it is not trained, moved or saved

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with the channels of shut gates at zero, of the same shape."""
        shape = [-1 if dim == self.dim else 1 for dim in range(weight.dim())]
        return weight * self.gate.values[self.channel].view(shape)


def hard_concrete(model: nn.Module, config: HardConcreteParams, *, data: MethodData) -> Edited:
    """Return a smaller copy in evaluation mode, without the channels whose gates were trained shut; open gates go into the weights.

    A gate stands before the layers that read the channel, so that a shut one is the same as no channel. `penalty` times the share
    of weights that are expected behind open gates is added to the loss. The gates without noise decide what goes.

    Raises:
        StageError: no channels can be removed, or the trained model gives the same outputs for every sample.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    groups = coupled_groups(model, data)
    student = gated(model, free(groups), speed=config.gate_learning_rate / config.training.learning_rate)
    trained, history = train_on(student, config.training, data, penalty=lambda net: config.penalty * expected_share(net))
    gates = final_gates(trained)
    made = without_silent(merged(trained, model), groups, gates, round_to=config.round_to)
    return dataclasses.replace(made, history=history)


def gated(model: nn.Module, groups: Sequence[ChannelGroup], *, speed: float) -> nn.Module:
    """A copy whose layers read the channels of each group through a gate."""
    twin = copy.deepcopy(model).eval()
    sizes = [_entries(model, group) for group in groups]
    for group, size in zip(groups, sizes, strict=True):
        gate = Gate(group.layer, group.channels, share=size / sum(sizes), speed=speed)
        for place in group.slices:
            if place.reads:
                layer = twin.get_submodule(place.module)
                parametrize.register_parametrization(layer, "weight", GatedWeight(gate, place.channel, place.dim))
    twin.register_forward_pre_hook(_draw)
    return twin


def expected_share(model: nn.Module) -> Tensor:
    """The share of the gated entries, 0 to 1, that is expected behind open gates."""
    return torch.stack([gate.expected() for gate in _gates(model)]).sum()


def final_gates(trained: nn.Module) -> Mapping[str, Tensor]:
    """A group's layer -> its gates without noise, [channels], each 0 to 1."""
    gates = _gates(trained.eval())
    with torch.no_grad():
        for gate in gates:
            gate.draw()
    return {gate.layer: gate.values[:-1] for gate in gates}


def merged(trained: nn.Module, model: nn.Module) -> nn.Module:
    """A plain copy of `model` with the trained weights, multiplied by the gates that were drawn last."""
    plain = copy.deepcopy(model).eval()
    state = trained.state_dict()
    gated_weights = {name.replace(f".{ORIGINAL}", ".weight"): name for name in state if name.endswith(ORIGINAL)}
    weights = {name: trained.get_submodule(name.removesuffix(".weight")).weight for name in gated_weights}
    kept = {name: value for name, value in state.items() if name in plain.state_dict()}
    plain.load_state_dict(kept | {name: cast("Tensor", value).detach() for name, value in weights.items()}, strict=True)
    return plain


def _draw(model: nn.Module, _inputs: object) -> None:
    for gate in _gates(model):
        gate.draw()


def _gates(model: nn.Module) -> list[Gate]:
    return [module for module in model.modules() if isinstance(module, Gate)]


def _entries(model: nn.Module, group: ChannelGroup) -> float:
    """How many trained entries belong to the group's channels."""
    return sum(
        model.get_parameter(place.name).numel() * float((place.channel >= 0).float().mean())
        for place in group.slices
        if place.tensor in ("weight", "bias")
    )
