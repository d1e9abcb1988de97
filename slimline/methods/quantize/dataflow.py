"""Which operation reads what in a model, taken from torch.export: what folding and equalisation look their layers up in."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from slimline.data.batch import Batch
from slimline.errors import Impossible
from slimline.methods.exported import exported
from slimline.methods.quantize.plan import weighted_layers

CONVOLUTIONS = (torch.ops.aten.conv1d.default, torch.ops.aten.conv1d.padding, torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding)
LINEAR = torch.ops.aten.linear.default
BATCH_NORM = torch.ops.aten.batch_norm.default


@dataclass(frozen=True)
class Dataflow:
    """A model's operations in order; the Linear, convolution and batch-norm layers that run exactly once are known by name.

    A layer whose weight serves more than one operation (used twice, or tied) is in none of the tables.
    """

    graph: fx.Graph
    layers: Mapping[fx.Node, str]
    norms: Mapping[fx.Node, str]


def dataflow(model: nn.Module, example: Batch) -> Dataflow:
    """The operations that `model` runs in evaluation mode on `example`; the model is left as it is.

    Raises:
        StageError: torch.export cannot follow the model.
    """
    try:
        program = exported(model, example, max_batch=None)
    except Impossible as error:
        raise Impossible(f"quantize: no layers can be linked: {error}") from error
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    modules = weighted_layers(model)
    layers = {node: owner for node in program.graph.nodes if (owner := _weight_owner(node, names)) in modules}
    norms = {node: owner for node in program.graph.nodes if (owner := _norm_owner(node, names)) is not None}
    return Dataflow(program.graph, layers, norms)


def shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of what an operation makes on the example; empty where that is more than one tensor, as of an LSTM."""
    made = node.meta["val"]
    return tuple(made.shape) if isinstance(made, Tensor) else ()


def operand(node: fx.Node, position: int) -> fx.Node | None:
    """What an operation reads at a position, where that is another operation's result, a weight or an input."""
    found = node.args[position] if position < len(node.args) else None
    return found if isinstance(found, fx.Node) else None


def _weight_owner(node: fx.Node, names: Mapping[str, str]) -> str | None:
    return _owner(node, 1, "weight", names) if node.target in (*CONVOLUTIONS, LINEAR) else None


def _norm_owner(node: fx.Node, names: Mapping[str, str]) -> str | None:
    return _owner(node, 3, "running_mean", names) if node.target is BATCH_NORM else None


def _owner(node: fx.Node, position: int, kind: str, names: Mapping[str, str]) -> str | None:
    """The module that owns the tensor at a position, if nothing but this operation reads that tensor."""
    tensor = operand(node, position)
    if tensor is None or len(tensor.users) != 1 or tensor.name not in names:
        return None
    owner, _, attribute = f".{names[tensor.name]}".rpartition(".")
    return owner.lstrip(".") if attribute == kind else None
