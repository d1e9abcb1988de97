"""Layer by layer: the shapes, parameters and non-zeros that a method left."""

from dataclasses import dataclass

import torch
from torch import nn

RECURRENT = (nn.LSTM, nn.GRU)
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, *RECURRENT)


@dataclass(frozen=True)
class LayerSize:
    """One layer: the shape of its weight (outputs first; of an LSTM or GRU its first), and its parameters with the bias."""

    shape: tuple[int, ...]
    parameters: int
    nonzero: int

    @property
    def shape_text(self) -> str:
        """Such as 64x32x3x3."""
        return "x".join(map(str, self.shape))


@dataclass(frozen=True)
class LayerChange:
    """A layer before, and the layers that stand in its place (one, two, or none)."""

    name: str
    before: LayerSize
    after: tuple[LayerSize, ...]

    @property
    def parameters(self) -> int:
        """What is left of the layer's parameters."""
        return sum(layer.parameters for layer in self.after)

    @property
    def zero_share(self) -> float:
        """The share of the remaining parameters that is exactly zero."""
        return 1 - sum(layer.nonzero for layer in self.after) / self.parameters if self.parameters else 0.0


def layer_sizes(model: nn.Module) -> dict[str, LayerSize]:
    """Module name -> size, of every Linear, convolution, LSTM and GRU in the model's own order."""
    return {name: _size(layer) for name, layer in model.named_modules() if isinstance(layer, WEIGHTED)}


def compare_layers(before: nn.Module, after: nn.Module) -> tuple[LayerChange, ...]:
    """What became of each layer of `before`; in `after` a layer keeps its name, or is a container of that name."""
    new = layer_sizes(after)
    return tuple(
        LayerChange(name, size, tuple(layer for other, layer in new.items() if other == name or other.startswith(f"{name}.")))
        for name, size in layer_sizes(before).items()
    )


def weight_bytes(model: nn.Module) -> int:
    """The bytes of all parameters and buffers as they are stored."""
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


def _size(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.LSTM | nn.GRU) -> LayerSize:
    parameters = list(layer.parameters())
    nonzero = sum(int(torch.count_nonzero(value)) for value in parameters)
    return LayerSize(tuple(parameters[0].shape), sum(value.numel() for value in parameters), nonzero)
