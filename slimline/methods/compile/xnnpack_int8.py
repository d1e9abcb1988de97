"""Int8 graphs as XNNPACK wants them: signed, and with the output of every int8 operation rounded as well as its inputs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import fx

from slimline.data.batch import Batch, split
from slimline.methods.compile.qdq import HIGHEST, LOWEST, MIDDLE, OPS, SIGNED
from slimline.methods.quantize.ranges import aligned_range

ATEN = torch.ops.aten
QUANTIZE, DEQUANTIZE = OPS.quantize_per_tensor.default, OPS.dequantize_per_tensor.default
RUNNING_RANGE = (OPS.choose_qparams.tensor, OPS.quantize_per_tensor.tensor, OPS.dequantize_per_tensor.tensor)
PRODUCTS = (ATEN.conv1d.default, ATEN.conv1d.padding, ATEN.conv2d.default, ATEN.conv2d.padding, ATEN.linear.default)
SUMS = (ATEN.add.Tensor, ATEN.add_.Tensor)
FUSED = (ATEN.relu.default, ATEN.relu_.default, ATEN.hardtanh.default, ATEN.hardtanh_.default, ATEN.relu6.default, ATEN.relu6_.default)
MOVES = (
    ATEN.view.default,
    ATEN.reshape.default,
    ATEN.flatten.using_ints,
    ATEN.permute.default,
    ATEN.transpose.int,
    ATEN.squeeze.dim,
    ATEN.unsqueeze.default,
    ATEN.max_pool2d.default,
    ATEN.dropout.default,
)
"""What only moves or picks values, so that its result has the grid of its input."""
CALIBRATION_BATCH = 32
OUTPUT_ROOM = 1.25
"""An output beyond the range would be clipped: the range is this much wider than on the calibration sample."""


class Grid(NamedTuple):
    """The 256 levels of a signed int8 tensor: (level - zero_point) * scale."""

    scale: float
    zero_point: int

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As the quantized_decomposed operations take them."""
        return (self.scale, self.zero_point, *SIGNED, torch.int8)


def close_int8_islands(graph_module: fx.GraphModule, calibration: Batch) -> None:
    """Change a graph of qdq.explicit in place, so that XNNPACK can run its static layers in int8.

    Unsigned levels become signed ones of the same values. XNNPACK's int8 operations write int8: a layer's output (behind its
    ReLU) gets the grid on which the next static layer reads it. Where there is none, as before a residual sum or for the outputs,
    it gets one over the range that the calibration sample shows there (outputs: a quarter wider). Sums of two rounded
    values are rounded too.
    """
    _make_signed(graph_module.graph)
    grids = _planned_grids(graph_module.graph)
    unknown = _rounded_outputs(graph_module.graph, grids)
    grids |= _observed(graph_module, unknown, calibration)
    _spread_over_moves(graph_module.graph, grids)
    for node, grid in grids.items():
        _round(graph_module.graph, node, grid)
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()


def static_products(graph: fx.Graph) -> Iterator[fx.Node]:
    """Linear layers and convolutions whose weight and input are both dequantized from fixed grids."""
    for node in graph.nodes:
        if node.target in PRODUCTS and _target(node.args[0]) is DEQUANTIZE and _target(node.args[1]) is OPS.dequantize_per_channel.default:
            yield node


def _grid(node: Any) -> Grid:
    """That of a quantize operation."""
    return Grid(*node.args[1:3])


def _target(node: Any) -> Any:
    return node.target if isinstance(node, fx.Node) else None


def _make_signed(graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.target in (QUANTIZE, DEQUANTIZE) and node.args[-1] is torch.uint8:
            value, scale, zero_point = node.args[:3]
            node.args = (value, scale, zero_point - MIDDLE, *SIGNED, torch.int8)
        elif node.target in RUNNING_RANGE and node.args[-1] is torch.uint8:
            node.args = tuple(_SIGNED_FOR.get(argument, argument) if isinstance(argument, int) else argument for argument in node.args)
            node.args = (*node.args[:-1], torch.int8)


_SIGNED_FOR = {LOWEST: SIGNED[0], HIGHEST: SIGNED[1]}


def _planned_grids(graph: fx.Graph) -> dict[fx.Node, Grid]:
    """The grid on which static layers read a value; also for what that value was moved from."""
    found: dict[fx.Node, Grid] = {}
    for node in graph.nodes:
        if node.target is QUANTIZE:
            value, grid = node.args[0], _grid(node)
            found.setdefault(value, grid)
            while value.target in MOVES:
                value = value.args[0]
                found.setdefault(value, grid)
    return found


def _rounded_outputs(graph: fx.Graph, grids: dict[fx.Node, Grid]) -> list[fx.Node]:
    """The outputs of int8 layers and sums that have no grid yet."""
    rounded, unknown = set(grids), []
    products = set(static_products(graph))
    for node in graph.nodes:
        is_sum = node.target in SUMS and all(value in rounded for value in node.args[:2])
        if node in products or is_sum:
            output = _behind_activation(node)
            if output not in rounded:
                rounded.add(output)
                unknown.append(output)
        elif node.target in MOVES and node.args[0] in rounded:
            rounded.add(node)
    return unknown


def _behind_activation(node: fx.Node) -> fx.Node:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in FUSED else node


class _Extremes(fx.Interpreter):
    """Runs a graph and keeps the smallest and largest value of some of its nodes."""

    def __init__(self, graph_module: fx.GraphModule, watched: list[fx.Node]) -> None:
        super().__init__(graph_module)
        self.found = dict.fromkeys(watched, (0.0, 0.0))

    def run_node(self, n: fx.Node) -> Any:
        """The node's result, looked at on the way."""
        result = super().run_node(n)
        if n in self.found:
            low, high = self.found[n]
            self.found[n] = min(low, float(result.min())), max(high, float(result.max()))
        return result


def _observed(graph_module: fx.GraphModule, nodes: list[fx.Node], calibration: Batch) -> dict[fx.Node, Grid]:
    """Grids over all values that the calibration sample shows, zero being one of the levels."""
    extremes, names = _Extremes(graph_module, nodes), [str(node.target) for node in graph_module.graph.find_nodes(op="placeholder")]
    with torch.no_grad():
        for batch in split(calibration, CALIBRATION_BATCH) if nodes else ():
            extremes.run(*(batch[name] for name in names))
    grids = {}
    for node, seen in extremes.found.items():
        room = OUTPUT_ROOM if any(user.op == "output" for user in node.users) else 1.0
        low, high = aligned_range(*(value * room for value in seen))
        scale = (high - low) / HIGHEST if high > low else 1.0
        grids[node] = Grid(scale, round(-low / scale) - MIDDLE)
    return grids


def _spread_over_moves(graph: fx.Graph, grids: dict[fx.Node, Grid]) -> None:
    for node in graph.nodes:
        if node.target in MOVES and node.args[0] in grids and node not in grids:
            grids[node] = grids[node.args[0]]


def _round(graph: fx.Graph, node: fx.Node, grid: Grid) -> None:
    """Quantize a value once; whoever reads it dequantizes for itself, as XNNPACK's patterns want it."""
    readers = list(node.users)
    with graph.inserting_after(node):
        whole = graph.call_function(QUANTIZE, (node, *grid.arguments))
    for reader in readers:
        if reader.target is QUANTIZE and _grid(reader) == grid:
            reader.replace_all_uses_with(whole)
            graph.erase_node(reader)
            continue
        with graph.inserting_before(reader):
            reader.replace_input_with(node, graph.call_function(DEQUANTIZE, (whole, *grid.arguments)))
