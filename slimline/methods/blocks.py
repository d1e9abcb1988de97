"""A model block by block: each block of a stack is changed in place, and the next one is run on what the changed ones before it give.

At most one block's inputs for the calibration sample are held at a time. Where a model has no stack of blocks, it is one block itself.
"""

import contextlib
import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, split
from slimline.data.padding import NO_PADDING, there_of
from slimline.methods.factorize.whitening import input_rows
from slimline.methods.layer_calls import Note, hooked, on_inputs, run_hooked

BATCH_SIZE = 8
"""Samples to a run."""
MATRIX_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d)


class _ReachedError(Exception):
    """What was to be seen of a run is seen."""


@dataclass
class Call:
    """How a block is called with one batch: what flows from block to block first, and all else; `there` see data/padding.py."""

    flowing: Tensor | None
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    there: Tensor = NO_PADDING

    def run(self, block: nn.Module) -> Any:
        """What the block makes of it."""
        return block(*([] if self.flowing is None else [self.flowing]), *self.arguments, **self.named)


@dataclass(frozen=True)
class Block:
    """One block of the model that is being changed, and the calls that it gets over the calibration sample."""

    name: str
    module: nn.Module
    calls: list[Call]

    def full_name(self, layer: str) -> str:
        """A layer's name in the model."""
        return f"{self.name}.{layer}".lstrip(".")

    def groups(self) -> list[tuple[str, ...]]:
        """The matrix layers in the order in which they run, those that multiply the same vectors together: a convolution and the shortcut
        beside it read one tensor, each in its own way. Layers that run twice are left out.
        """
        layers = matrix_layers(self.module)
        read: dict[str, int] = {}
        held: list[Tensor] = []
        runs: Counter[str] = Counter()

        def note(name: str, x: Tensor, _: Tensor) -> None:
            read.setdefault(name, id(x))
            held.append(x)  # so that no other tensor gets its id
            runs[name] += 1

        self.watched(layers, note, only_first=True)
        found: dict[tuple[Any, ...], list[str]] = {}
        for name, key in read.items():
            if runs[name] == 1:
                found.setdefault((key, *_patches(layers[name])), []).append(name)
        return [tuple(names) for names in found.values()]

    def watched(self, layers: Mapping[str, nn.Module], note: Note, *, only_first: bool = False, stop: bool = False) -> None:
        """Run the calls, and tell `note` each layer's input; with `stop` no further than to the first layer."""

        def noted(name: str, x: Tensor, there: Tensor) -> None:
            note(name, x, there)
            if stop:
                raise _ReachedError

        for call in self.calls[:1] if only_first else self.calls:
            with hooked(on_inputs(layers, noted, call.there)), torch.no_grad(), contextlib.suppress(_ReachedError):
                call.run(self.module)

    def gram(self, layer: str) -> "Gram":
        """The second moment of what a layer's matrix multiplies, and the mean and the largest magnitude of each input."""
        module = matrix_layers(self.module)[layer]
        found = Gram()
        self.watched({layer: module}, lambda _, x, there: found.add(input_rows(module, x, there)), stop=True)
        return found


@dataclass
class Gram:
    """Sums over `count` input vectors: of their outer products, float64 [inputs, inputs], and of their magnitudes [inputs].

    `largest` is the largest magnitude of each input.
    """

    count: int = 0
    products: Tensor = field(default_factory=lambda: torch.zeros(()))
    magnitudes: Tensor = field(default_factory=lambda: torch.zeros(()))
    largest: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, rows: Tensor) -> None:
        """Take in rows [vectors, inputs]."""
        self.count += len(rows)
        self.products = self.products + (rows.T @ rows).double()
        self.magnitudes = self.magnitudes + rows.abs().sum(dim=0).double()
        self.largest = torch.maximum(self.largest, rows.abs().amax(dim=0))

    @property
    def moment(self) -> Tensor:
        """The mean outer product, float64 [inputs, inputs]."""
        return self.products / max(self.count, 1)

    @property
    def mean_magnitude(self) -> Tensor:
        """Float64 [inputs]."""
        return self.magnitudes / max(self.count, 1)


def matrix_layers(module: nn.Module) -> dict[str, nn.Linear | nn.Conv1d | nn.Conv2d]:
    """The Linear layers and ungrouped convolutions inside, by name."""
    return {
        name: layer for name, layer in module.named_modules() if isinstance(layer, MATRIX_TYPES) and int(getattr(layer, "groups", 1)) == 1
    }


def _patches(layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> tuple[Any, ...]:
    """What a layer makes its vectors by, of a tensor that it reads; a Linear takes them as they are."""
    if isinstance(layer, nn.Linear):
        return ()
    return (layer.kernel_size, layer.stride, layer.dilation, layer.padding, layer.padding_mode)


def blocks_of(model: nn.Module, inputs: Batch) -> Iterator[Block]:
    """The blocks of `model`, evaluated, in the order in which they run; what the caller changes in one is run before the next comes.

    `inputs` are run in batches of BATCH_SIZE.
    """
    names = stack_of(model, inputs)
    if not names:
        yield Block("", model, [Call(None, (), batch, there_of(batch)) for batch in split(inputs, BATCH_SIZE)])
        return
    recorded = [_recorded(model, names, batch) for batch in split(inputs, BATCH_SIZE)]
    flowing = [calls[names[0]].flowing for calls in recorded]
    for name in names:
        calls = [replace(calls[name], flowing=hidden) for hidden, calls in zip(flowing, recorded, strict=True)]
        block = Block(name, model.get_submodule(name), calls)
        yield block
        with torch.no_grad():
            flowing = [_first(call.run(block.module)) for call in calls]


def stack_of(model: nn.Module, inputs: Batch) -> tuple[str, ...]:
    """The names of the blocks of the model's largest stack; empty where it has none.

    A stack is a list of at least two modules with matrix layers, each of which runs once and is given what the one before it made.
    """
    stacks = sorted(_lists(model), key=lambda names: -sum(_size(model.get_submodule(name)) for name in names))
    few = {name: value[:2] for name, value in inputs.items()}
    return next((names for names in stacks if _runs_in_a_row(model, names, few)), ())


def _lists(model: nn.Module) -> list[tuple[str, ...]]:
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            inside = [f"{name}.{place}".lstrip(".") for place, child in module.named_children() if matrix_layers(child)]
            found += [tuple(inside)] if len(inside) == len(module) else []
    return found


def _size(module: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in matrix_layers(module).values())


def _runs_in_a_row(model: nn.Module, names: tuple[str, ...], few: Batch) -> bool:
    """Whether the named modules hand one tensor on from each to the next, each run once."""
    given, made, order = {}, {}, []

    def before(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            order.append(name)
            given[name] = _flowing(arguments, named)

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            made[name] = _first(output)

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(before(name), with_kwargs=True) for name in names]
    handles += [model.get_submodule(name).register_forward_hook(after(name)) for name in names]
    run_hooked(model, few, handles)
    linked = all(given[later] is not None and given[later] is made[name] for name, later in itertools.pairwise(order))
    return tuple(order) == names and linked and given[names[0]] is not None


def _recorded(model: nn.Module, names: tuple[str, ...], batch: Batch) -> dict[str, Call]:
    """How each block is called with a batch; what flows is kept of the first alone."""
    calls: dict[str, Call] = {}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            flowing = _flowing(arguments, named) if name == names[0] else None
            rest = dict(named) if arguments else dict(list(named.items())[1:])
            calls[name] = Call(flowing, arguments[1:], rest, there_of(batch))
            if name == names[-1]:
                raise _ReachedError

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(hook_of(name), with_kwargs=True) for name in names]
    with contextlib.suppress(_ReachedError):
        run_hooked(model, batch, handles)
    return calls


def _flowing(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor | None:
    first = arguments[0] if arguments else next(iter(named.values()), None)
    return first if isinstance(first, Tensor) else None


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) and output else output


def evaluated_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that can be changed in place."""
    return copy.deepcopy(model).eval()
