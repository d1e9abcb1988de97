"""How a net is called: every net of the line takes its inputs by name and gives what its objective reads.

Nets are written in many ways: one parameter or several, called `x` or `input`, a result in a tuple, a dict, a `ModelOutput`. What is
particular to a net is settled once, where it is built; from there on it is `net(**batch)`, for methods, exporters and runtimes alike.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch.fx import GraphModule

from slimline.data.batch import Batch, Tensors
from slimline.errors import WorkloadError

LOGITS = "logits"
Outputs = Callable[[Any], Tensors]
"""From what a net's `forward` gives to what its objective reads."""
Net = TypeVar("Net", bound=nn.Module)


def parameters_of(net: nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of a net's `forward`, in order."""
    return dict(inspect.signature(net.forward).parameters)


def named(net: nn.Module, inputs: Tensor | Batch) -> Batch:
    """Inputs by name; a plain tensor is named after the first parameter of the net's `forward`."""
    if not isinstance(inputs, Tensor):
        return inputs
    return {next(iter(parameters_of(net)), "input"): inputs}


def only_tensor(result: Any) -> Tensors:
    """What is taken of a result where nothing else is said: the tensor, the only one in it, or its `logits`.

    Raises:
        WorkloadError: it holds several and none is called so.
    """
    if isinstance(result, Tensor):
        return result
    if isinstance(result, Mapping) and isinstance(found := result.get(LOGITS), Tensor):
        return found
    if isinstance(found := getattr(result, LOGITS, None), Tensor):
        return found
    parts = list(result.values()) if isinstance(result, Mapping) else list(result) if isinstance(result, list | tuple) else []
    held = [part for part in parts if isinstance(part, Tensor)]
    if len(held) == 1:
        return held[0]
    names = list(result) if isinstance(result, Mapping) else type(result).__name__
    raise WorkloadError(
        f"the net's forward gives {len(held)} tensors ({names}), none called 'logits'; add outputs(result) that takes what counts"
    )


def called_by_name(net: Net, name: str, outputs: Outputs = only_tensor) -> Net:
    """The same net (same modules, same weights), of a class that takes its inputs by name and gives what `outputs` takes of its result.

    `name` is that of the workload's input where it has one alone: this net may call it otherwise. A plain Sequential is left as it is.

    Raises:
        WorkloadError: a traced graph would have to give something else than it does.
    """
    needs_name = _needs_name(net, name)
    if isinstance(net, GraphModule):
        return cast("Net", _traced(net, name if needs_name else "", outputs))
    if type(net) is nn.Sequential and not needs_name and outputs is only_tensor:
        return net
    made = _class_of(type(net), name if needs_name else "", outputs)  # type: ignore[arg-type]
    net.__class__ = made  # type: ignore[assignment]
    return net


@functools.cache
def _class_of(base: type[nn.Module], name: str, outputs: Outputs) -> type[nn.Module]:
    """A subclass that is called so; the same one for every net of a class, so that two nets of a class stay of one class."""

    def as_it_is(self: nn.Module, *inputs: Any, **batch: Any) -> Any:
        return outputs(base.forward(self, *inputs, **batch))

    def renamed(self: nn.Module, **batch: Any) -> Any:
        return outputs(base.forward(self, *batch.values()))

    forward = renamed if name else as_it_is
    kinds = [inspect.Parameter(one, inspect.Parameter.POSITIONAL_OR_KEYWORD) for one in ("self", name) if one]
    forward.__signature__ = inspect.Signature(kinds) if name else inspect.signature(base.forward)  # type: ignore[attr-defined]
    return type(base.__name__, (base,), {"forward": forward, "__module__": base.__module__, "__qualname__": base.__qualname__})


def _traced(net: Any, name: str, outputs: Outputs) -> Any:
    """A traced graph's one input is given the name; what it gives is fixed."""
    if outputs is not only_tensor:
        raise WorkloadError(
            "a traced GraphModule gives what it gives; trace it so that it gives one tensor, or build what it was traced from"
        )
    if name:
        (node,) = net.graph.find_nodes(op="placeholder")
        node.target = node.name = name
        net.recompile()
    return net


def _needs_name(net: nn.Module, name: str) -> bool:
    """Whether the workload's one input has another name in this net, or none by which it can be called."""
    known = parameters_of(net)
    if name in known:
        return known[name].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    needed = [one for one in known.values() if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    return len(needed) == 1
