"""What a rule of `slimline check` looks at, and what it says: the layers of a stored model, one deployed variant, one rule.

Nothing here imports torch: layers are known by the shapes in the header of a variant's weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from slimline.params import VariantParams

NAMED_LAYERS = 3
XEON = "a Xeon with AMX"


@dataclass(frozen=True)
class Layer:
    """One layer of a stored model: its module's name and the shape of its weight, outputs first."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_convolution(self) -> bool:
        """Whether the weight has kernel dimensions."""
        return len(self.shape) > 2

    @property
    def parameters(self) -> int:
        """How many values the weight holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Case:
    """One variant that is to be deployed: its method's config, where to, the layers it starts from, and this CPU's instruction sets."""

    variant: str
    config: VariantParams
    targets: tuple[str, ...]
    layers: tuple[Layer, ...]
    isa: frozenset[str]
    recurrent: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Rule:
    """When a scheme brings less than it seems to: `found` says what is the case here, `measured` what came of it, `where` on what."""

    found: Callable[[Case], str | None]
    measured: str
    where: str


def recurrent_layers(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Layer, ...]:
    """The LSTM and GRU layers among stored weights, each by its first hidden matrix [gates x hidden, hidden]."""
    return stored_layers(shapes, ".weight_hh_l0")


def stored_layers(shapes: Mapping[str, tuple[int, ...]], ending: str = ".weight") -> tuple[Layer, ...]:
    """The Linear layers and convolutions among stored weights (tensor name -> shape)."""
    return tuple(Layer(name.removesuffix(ending), shape) for name, shape in shapes.items() if name.endswith(ending) and len(shape) > 1)


def named(layers: list[Layer]) -> str:
    """How many layers, and the first of their names."""
    shown = ", ".join(layer.name for layer in layers[:NAMED_LAYERS])
    rest = len(layers) - NAMED_LAYERS
    return f"{len(layers)} layer{'s' if len(layers) > 1 else ''} ({shown}{f' and {rest} more' if rest > 0 else ''})"
