"""Inputs of layers scaled, and what makes them scaled the other way, so that the model computes what it did.

Which norm or layer that can be is tried out: both are scaled by chance, and the block has to give the same. So it holds for every
architecture, and where something else reads the same tensor (a residual connection), nothing is scaled.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Block, matrix_layers
from slimline.methods.layer_calls import hooked

TRIED = 4
"""How many of the modules before a layer are tried, the nearest first."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Scalable:
    """Linear layers of a block that read one tensor, and the norm or layer whose weight can take its scale; None where nothing can."""

    consumers: tuple[str, ...]
    producer: str | None
    offset: float = 0.0
    """What the producer adds to its weight before it multiplies by it: 1 in Gemma's norms."""


class Scaler:
    """Finds what can be scaled in the blocks of one model; blocks of the same classes and shapes are alike, and tried out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], list[Scalable]] = {}

    def __call__(self, block: Block) -> list[Scalable]:
        """See `scalables`."""
        shapes = tuple((name, tuple(value.shape)) for name, value in block.module.named_parameters())
        kinds = tuple((name, type(module)) for name, module in block.module.named_modules())
        if (key := (kinds, shapes)) not in self._known:
            self._known[key] = scalables(block)
        return self._known[key]


def scalables(block: Block) -> list[Scalable]:
    """The block's groups of Linear layers in the order in which they run, each with what can take its scale."""
    order = _run_order(block)
    found, taken = [], set[str]()
    for group in block.groups():
        consumers = tuple(name for name in group if isinstance(matrix_layers(block.module)[name], nn.Linear))
        if not consumers:
            continue
        before = order[: min(order.index(name) for name in consumers)]
        inputs = matrix_layers(block.module)[consumers[0]].weight.shape[1]
        fitting = [name for name in reversed(before) if name not in taken and _makes(block.module.get_submodule(name), inputs)][:TRIED]
        tried = (Scalable(consumers, name, offset) for name in fitting for offset in _offsets(block.module.get_submodule(name)))
        chosen = next((one for one in tried if _computes_the_same(block, one)), Scalable(consumers, None))
        taken |= {chosen.producer} if chosen.producer else set()
        found.append(chosen)
    return found


def scale_(block: Block, scalable: Scalable, scale: Tensor) -> None:
    """Multiply the consumers' columns by `scale` [inputs], and divide what the producer makes by it, in place."""
    assert scalable.producer is not None
    with torch.no_grad():
        producer: Any = block.module.get_submodule(scalable.producer)
        rows = scale.to(producer.weight.dtype)
        producer.weight.add_(scalable.offset).div_(rows if producer.weight.dim() == 1 else rows[:, None]).sub_(scalable.offset)
        if getattr(producer, "bias", None) is not None:
            producer.bias.div_(rows)
        for name in scalable.consumers:
            layer = matrix_layers(block.module)[name]
            layer.weight.mul_(scale.to(layer.weight.dtype))


def _makes(module: nn.Module, values: int) -> bool:
    """Whether a module has a weight with a row, or a number, for each of so many values."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or len(list(module.children())):
        return False
    return len(weight) == values and (weight.dim() == 1 or isinstance(module, nn.Linear))


def _offsets(module: nn.Module) -> tuple[float, ...]:
    return (0.0,) if isinstance(module, nn.Linear) else (0.0, 1.0)


def _run_order(block: Block) -> list[str]:
    """The modules without children in the order in which they first run."""
    order: list[str] = []
    leaves = {name: module for name, module in block.module.named_modules() if not len(list(module.children()))}
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: None if name in order else order.append(name))  # type: ignore[misc]
        for name, module in leaves.items()
    ]
    with hooked(handles), torch.no_grad():
        block.calls[0].run(block.module)
    return order


def _computes_the_same(block: Block, one: Scalable) -> bool:
    assert one.producer is not None
    names = (one.producer, *one.consumers)
    kept = {name: {key: value.detach().clone() for key, value in _own(block, name).items()} for name in names}
    call = block.calls[0]
    with torch.no_grad():
        before = _values(call.run(block.module))
        inputs = matrix_layers(block.module)[one.consumers[0]].weight.shape[1]
        scale = torch.linspace(0.5, 2.0, inputs)[torch.randperm(inputs, generator=torch.Generator().manual_seed(0))]
        scale_(block, one, scale)
        after = _values(call.run(block.module))
        for name in names:
            for key, value in _own(block, name).items():
                value.copy_(kept[name][key])
    return bool((after - before).abs().max() <= TOLERANCE * before.abs().max())


def _own(block: Block, name: str) -> dict[str, nn.Parameter]:
    return dict(block.module.get_submodule(name).named_parameters(recurse=False))


def _values(output: Any) -> Tensor:
    """All numbers that a block gives, in a row."""
    if isinstance(output, Tensor):
        return output.flatten().float()
    parts = output.values() if isinstance(output, dict) else output
    return torch.cat([_values(part) for part in parts if isinstance(part, Tensor | tuple | list | dict)])
