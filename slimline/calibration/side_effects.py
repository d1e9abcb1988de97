"""What a call of a net in evaluation mode leaves behind: inputs, numbers and buffers that are others afterwards."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from slimline.artifact.structure import numbers_of
from slimline.data.batch import Batch, clone


def side_effects(model: nn.Module, few: Batch) -> Iterator[str]:
    """A sentence with the way out for the first that is found; `model`, which was never called, is not called.

    An input that is changed is another for whoever reads it next. A number of a module that a call changes would stand in a stored model
    as if a method had changed it. A buffer may be filled once, as tables of positions are, but not in every call.
    """
    twin, given = copy.deepcopy(model), clone(few)
    with torch.no_grad():
        twin(**given)
        if written := [name for name, value in few.items() if not _same(value, given[name])]:
            yield f"its forward changes its input {written[0]!r} in place; compute a new tensor, or begin with {written[0]}.clone()"
            return
        if counted := [name for name, value in _numbers(twin).items() if _numbers(model).get(name, value) != value]:
            own = counted[0].rpartition(".")[2]
            yield f"a call changes its number {counted[0]!r}, in evaluation mode too; call it '_{own}', and it is left alone"
            return
        before = {name: value.clone() for name, value in twin.named_buffers()}
        twin(**clone(few))
    for name, value in twin.named_buffers():
        if name in before and not _same(value, before[name]):
            yield f"every call changes its buffer {name!r}, in evaluation mode too; change it only if `self.training`"
            return


def _numbers(model: nn.Module) -> dict[str, object]:
    return {f"{name}.{key}".lstrip("."): value for name, module in model.named_modules() for key, value in numbers_of(module).items()}


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same values; what is no number equals itself."""
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
