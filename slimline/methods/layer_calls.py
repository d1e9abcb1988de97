"""What goes into a layer and comes out of it, however it is called: by position or by keyword (`layer(input=x)`)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from slimline.data.batch import Batch
from slimline.data.padding import NO_PADDING, there_of
from slimline.errors import Impossible

WATCHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LSTM, nn.GRU)
"""The layers whose inputs calibration looks at."""
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


def note_inputs(model: nn.Module, layers: Iterable[str], batches: Iterable[Batch], note: Callable[[str, Tensor, Tensor], None]) -> None:
    """Run batches through a model without gradients; `note(name, input, there)` for each run of these layers, see data/padding.py."""
    there = [NO_PADDING]

    def hooked(name: str) -> Callable[[nn.Module, Tensor], None]:
        return lambda _, x: note(name, x, there[0])

    handles = [on_input(model.get_submodule(name), hooked(name), name=name) for name in layers]
    try:
        with torch.no_grad():
            for batch in batches:
                there[0] = there_of(batch)
                model(**batch)
    finally:
        for handle in handles:
            handle.remove()


def on_output(layer: nn.Module, note: Callable[[nn.Module, Tensor, Tensor], Tensor | None]) -> RemovableHandle:
    """Call `note(layer, input, output)` after each run of a layer; what it returns, if anything, comes out instead."""

    def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor | None:
        return note(module, layer_input(module, arguments, named), output)

    return layer.register_forward_hook(hook, with_kwargs=True)


def run_hooked(model: nn.Module, inputs: Batch, handles: Iterable[RemovableHandle]) -> None:
    """Run a model once without gradients for what its hooks note or change, and remove them."""
    handles = list(handles)
    try:
        with torch.no_grad():
            model(**inputs)
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
