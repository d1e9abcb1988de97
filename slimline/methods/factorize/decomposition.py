"""One layer as a chain of thin ones: what every low-rank method says of a layer, and how the chain is built.

A chain has no activation between its layers, and a bias in the last alone, so it computes what one layer of the product's weight would.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimline.methods.factorize.whitening import Whitening

Layer = nn.Linear | nn.Conv1d | nn.Conv2d
Ranks = tuple[int, ...]
"""The widths between the layers of a chain that can be chosen."""


@dataclass(frozen=True)
class Scheme:
    """How one method turns a layer into a chain.

    `thin` gives the chain unfilled, at any ranks; its first layer says which inputs the whitening has to cover. `limits` are
    the highest ranks to try: those at which nothing is approximated or, where these are not known, nothing is saved. `costly`: each
    rank is a fit of its own, so searches try doublings alone.
    """

    takes: Callable[[Layer], bool]
    limits: Callable[[Layer], Ranks]
    thin: Callable[[Layer, Ranks], nn.Sequential]
    fit: Callable[[Layer, Whitening, int], "Fit"]
    costly: bool = False


@dataclass(frozen=True)
class Fit:
    """What a scheme finds for one layer's weight.

    `lost` is the share of the energy (the squared norm of the layer's outputs, or of its weight) that is lost at some ranks;
    `weights` are those of the chain's layers, in order; `unfoldings` are the matrices whose ranks are sought, one a rank.
    """

    lost: Callable[[Ranks], float]
    weights: Callable[[Ranks], tuple[Tensor, ...]]
    unfoldings: tuple[Tensor, ...]


@dataclass(frozen=True)
class Decomposition:
    """A layer with its scheme and fit."""

    layer: Layer
    scheme: Scheme
    fit: Fit

    @property
    def limits(self) -> Ranks:
        """The highest ranks to try."""
        return self.scheme.limits(self.layer)

    def sizes(self, ranks: Ranks) -> tuple[int, ...]:
        """How many weights each layer of the chain has, without the bias."""
        return tuple(weight_of(thin).numel() for thin in unfilled(self, ranks))

    def saves(self, ranks: Ranks) -> bool:
        """Whether the chain has fewer weights than the layer."""
        return sum(self.sizes(ranks)) < self.layer.weight.numel()


def decomposed(layer: Layer, scheme: Scheme, whitening: Whitening, seed: int = 0) -> Decomposition:
    """A layer's decomposition; `seed` decides where a fit starts from random values."""
    return Decomposition(layer, scheme, scheme.fit(layer, whitening, seed))


def unfilled(decomposition: Decomposition, ranks: Ranks) -> nn.Sequential:
    """The chain without any memory of its own: on the device `meta`."""
    with torch.device("meta"):
        return decomposition.scheme.thin(decomposition.layer, ranks)


def chain(decomposition: Decomposition, ranks: Ranks) -> nn.Sequential:
    """The filled chain; it takes over the bias, type and mode of the layer."""
    layer = decomposition.layer
    made = unfilled(decomposition, ranks).to_empty(device=layer.weight.device).to(layer.weight.dtype)
    last: Any = made[-1]
    with torch.no_grad():
        for thin, weight in zip(made, decomposition.fit.weights(ranks), strict=True):
            target = weight_of(thin)
            target.copy_(weight.reshape(target.shape))
        if layer.bias is not None:
            last.bias.copy_(layer.bias)
    return made.train(layer.training)


def unfilled_first(layer: Layer, scheme: Scheme) -> nn.Module:
    """The first layer of a chain, without memory: it says which inputs are whitened, at any rank the same."""
    with torch.device("meta"):
        return scheme.thin(layer, scheme.limits(layer))[0]


def replaced(model: nn.Module, chains: Mapping[str, nn.Sequential]) -> nn.Module:
    """A copy with chains in place of the named layers, under every name that a layer has."""
    made = copy.deepcopy(model)
    by_layer = {id(made.get_submodule(name)): one for name, one in chains.items()}
    for name, layer in list(made.named_modules(remove_duplicate=False)):
        if (one := by_layer.get(id(layer))) is not None:
            made.set_submodule(name, one, strict=True)
    return made


def weight_of(thin: nn.Module) -> Tensor:
    """The weight of a layer of a chain."""
    return thin.get_parameter("weight")


def pointwise(layer: nn.Conv1d | nn.Conv2d, inputs: int, outputs: int, *, bias: bool = False) -> nn.Module:
    """An unfilled 1x1 convolution of the same number of axes."""
    return type(layer)(inputs, outputs, 1, bias=bias)


def along(
    layer: nn.Conv1d | nn.Conv2d, axes: tuple[int, ...], inputs: int, outputs: int, *, groups: int = 1, bias: bool = False
) -> nn.Module:
    """An unfilled convolution with the layer's kernel, stride, padding and dilation on some axes, and 1 on the others."""

    def only(values: tuple[int, ...], other: int) -> Any:
        return tuple(value if axis in axes else other for axis, value in enumerate(values))

    return type(layer)(
        inputs,
        outputs,
        only(layer.kernel_size, 1),
        stride=only(layer.stride, 1),
        padding=layer.padding if isinstance(layer.padding, str) else only(layer.padding, 0),
        dilation=only(layer.dilation, 1),
        padding_mode=layer.padding_mode,
        groups=groups,
        bias=bias,
    )
