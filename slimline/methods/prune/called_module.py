"""One module of a model as a model of its own, called as the model called it: what is tried there costs a layer, not a model."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from slimline.data.batch import Batch
from slimline.methods.layer_calls import run_hooked

NAME = "module"


@dataclass(frozen=True)
class Call:
    """How a module was called first."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


class CalledModule(nn.Module):
    """A module that is given its first tensor as `x`, and whatever else it was called with as it was; the first tensor that it gives.

    Its layers have the names that they have in the model, after NAME.
    """

    def __init__(self, module: nn.Module, call: Call) -> None:
        super().__init__()
        self.module = module
        self.arguments, self.named = list(call.arguments), dict(call.named)

    @property
    def inputs(self) -> Batch:
        """What it was called with first."""
        place = self._place
        return {"x": self.arguments[place] if isinstance(place, int) else self.named[place]}

    @property
    def _place(self) -> int | str:
        """Where the first tensor stands."""
        entries: list[tuple[int | str, Any]] = [*enumerate(self.arguments), *self.named.items()]
        return next(place for place, value in entries if isinstance(value, Tensor))

    def forward(self, x: Tensor) -> Tensor:
        """As the module itself."""
        place = self._place
        arguments = [x if number == place else value for number, value in enumerate(self.arguments)]
        found = self.module(*arguments, **{key: x if key == place else value for key, value in self.named.items()})
        return next(leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor))


def calls_of(model: nn.Module, names: Sequence[str], inputs: Batch) -> dict[str, Call]:
    """How each of these modules is called first, for those that run and are given a tensor."""
    watched = copy.deepcopy(model).eval()
    found: dict[str, Call] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            if any(isinstance(value, Tensor) for value in (*arguments, *named.values())):
                found.setdefault(name, Call(arguments, dict(named)))

        return hook

    run_hooked(watched, inputs, [watched.get_submodule(name).register_forward_pre_hook(note(name), with_kwargs=True) for name in names])
    return found


def outputs_of(module: nn.Module, call: Call) -> list[Tensor]:
    """Every tensor of floats that a module gives."""
    with torch.no_grad():
        found = module(*call.arguments, **call.named)
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
