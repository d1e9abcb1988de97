"""What goes into a layer and comes out of it, however it is called: by position or by keyword (`layer(input=x)`)."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from slimline.data.batch import Batch
from slimline.data.padding import there_of
from slimline.errors import Impossible

WATCHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LSTM, nn.GRU)
"""The layers whose inputs calibration looks at."""
Note = Callable[[str, Tensor, Tensor], None]
"""Is told a layer's name, its input, and which places of it are there (see data/padding.py)."""
INPUT = "input"
"""What torch calls the first argument of its layers."""


def on_input(layer: nn.Module, note: Callable[[nn.Module, Tensor], Tensor | None], *, name: str = "") -> RemovableHandle:
    """Call `note(layer, input)` before each run of a layer; what it returns, if anything, goes in instead. `name` is for refusals."""

    def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        changed = note(module, layer_input(module, arguments, named, name))
        if changed is None:
            return None
        return ((changed, *arguments[1:]), named) if arguments else (arguments, {**named, _first_name(named): changed})

    return layer.register_forward_pre_hook(hook, with_kwargs=True)


def on_inputs(layers: Mapping[str, nn.Module], note: Note, there: Tensor) -> list[RemovableHandle]:
    """Tell `note` the input of each run of these layers on samples of which the places `there` are there."""

    def noting(name: str) -> Callable[[nn.Module, Tensor], None]:
        return lambda _, x: note(name, x, there)

    return [on_input(layer, noting(name), name=name) for name, layer in layers.items()]


def note_inputs(model: nn.Module, names: Iterable[str], batches: Iterable[Batch], note: Note) -> None:
    """Run batches through a model without gradients, and tell `note` the input of each run of these layers."""
    layers = {name: model.get_submodule(name) for name in names}
    for batch in batches:
        run_hooked(model, batch, on_inputs(layers, note, there_of(batch)))


def on_output(layer: nn.Module, note: Callable[[nn.Module, Tensor, Tensor], Tensor | None]) -> RemovableHandle:
    """Call `note(layer, input, output)` after each run of a layer; what it returns, if anything, comes out instead."""

    def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor | None:
        return note(module, layer_input(module, arguments, named), output)

    return layer.register_forward_hook(hook, with_kwargs=True)


def run_hooked(model: nn.Module, inputs: Batch, handles: Iterable[RemovableHandle]) -> None:
    """Run a model once without gradients for what its hooks note or change, and remove them."""
    with hooked(handles), torch.no_grad():
        model(**inputs)


@contextlib.contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks after what runs with them."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def layer_input(layer: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any], name: str = "") -> Tensor:
    """The tensor that a layer is called with.

    Raises:
        StageError: it is called with something else, such as a packed sequence.
    """
    given = arguments[0] if arguments else named.get(_first_name(named))
    if not isinstance(given, Tensor):
        label = f"{name!r}, {type(layer).__name__}," if name else type(layer).__name__
        raise Impossible(f"layer {label} is called with a {type(given).__name__}, where only a tensor can be followed")
    return given


def _first_name(named: Mapping[str, Any]) -> str:
    """A subclass may call its first argument something else; then it is the first that is given."""
    return INPUT if INPUT in named else next(iter(named), INPUT)
