"""How a net is called: every net of the line takes its inputs by name and gives what its objective reads.

Nets are written in many ways: one parameter or several, called `x` or `input`, a result in a tuple, a dict, a `ModelOutput`. What is
particular to a net is settled once, where it is built; from there on it is `net(**batch)`, for methods, exporters and runtimes alike.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

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


def called_by_name(net: Net, names: Sequence[str], outputs: Outputs | None = None) -> Net:
    """The same net (same modules, same weights), of a class that takes inputs of these names and gives what `outputs` takes of its result.

    A net that does so already is given back as it is. One input may be called otherwise in this net than in another of the same workload.

    Raises:
        WorkloadError: `forward` does not take the names.
    """
    renamed = _renamed(net, names)
    if not renamed and outputs is None:
        return net
    if isinstance(net, GraphModule):
        return _traced(net, names, outputs)
    base = type(net)
    takes = outputs or (lambda result: result)

    def forward(self: nn.Module, **batch: Tensor) -> Any:
        if renamed:
            return takes(base.forward(self, *batch.values()))
        return takes(base.forward(self, **batch))

    kinds = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    kinds += [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    forward.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    net.__class__ = type(base.__name__, (base,), {"forward": forward, "__module__": base.__module__, "__qualname__": base.__qualname__})
    return net


def _traced(net: Any, names: Sequence[str], outputs: Outputs | None) -> Any:
    """A traced graph's own inputs are given the names; what it gives is fixed."""
    if outputs is not None:
        raise WorkloadError(
            "a traced GraphModule gives what it gives: trace it so that it gives one tensor, or build the module it was traced from"
        )
    for node, name in zip(net.graph.find_nodes(op="placeholder"), names, strict=False):
        node.target = node.name = name
    net.recompile()
    return net


def _renamed(net: nn.Module, names: Sequence[str]) -> bool:
    """Whether the one input has another name in this net, or none that can be used."""
    known = parameters_of(net)
    if all(name in known or any(one.kind is one.VAR_KEYWORD for one in known.values()) for name in names):
        return any(name in known and known[name].kind is inspect.Parameter.POSITIONAL_ONLY for name in names)
    needed = [name for name, one in known.items() if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if len(names) == 1 and len(needed) <= 1 and known:
        return True
    wrong = sorted(set(names) - known.keys())[0]
    raise WorkloadError(f"forward takes {', '.join(known) or 'nothing'}; inputs() gives {wrong!r}: name the inputs as forward does")
