"""What a layer costs in each precision: bytes of its weights, or MACs times the cost of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from slimline.data.batch import Batch, take
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.plan import FEW, RECURRENT_TYPES, AnyLayer, every_layer, matrices, table_owners
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes, stored_parts
from slimline.params.quantize import MixedBudget

Candidates = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Layer -> precision -> its plan entry, the most exact precision first."""
Assignment = Mapping[str, str]
"""Layer -> precision."""


@dataclass(frozen=True)
class Cost:
    """`reference` is what the source costs in float32, `start` what the model to be planned does; `change` is by layer and precision.

    `fixed` is what no choice of precisions makes less, such as the bytes of an embedding.
    """

    reference: float
    start: float
    change: Mapping[str, Mapping[str, float]]
    fixed: float = 0.0

    def of(self, assignment: Assignment) -> float:
        """The cost of a whole assignment."""
        return self.start + sum(self.change[layer][precision] for layer, precision in assignment.items())

    def ratio(self, assignment: Assignment) -> float:
        """How many times less than the source in float32."""
        return self.reference / self.of(assignment)

    def saving(self, layer: str, before: str, after: str) -> float:
        """What one layer saves by going from one precision to another."""
        return self.change[layer][before] - self.change[layer][after]


def byte_cost(source: nn.Module, ready: nn.Module, candidates: Candidates, samples: Batch) -> Cost:
    """Bytes of every parameter and buffer (see stored_bytes.py), as `samples` show their use.

    `ready` is the model that the plan is for, batch norms perhaps folded.
    """
    few = take(samples, slice(0, FEW))
    uses = uses_of(ready, few)
    start, owners = stored_bytes(ready, NO_PLAN, uses), table_owners(ready)

    def saved(layer: str, entry: Mapping[str, Any]) -> float:
        together = [name for name, owner in owners.items() if owner == layer] or [layer]
        return float(stored_bytes(ready, {"layers": dict.fromkeys(together, entry)}, uses) - start)

    change = {
        layer: {precision: saved(layer, entry) if owners.get(layer, layer) == layer else 0.0 for precision, entry in entries.items()}
        for layer, entries in candidates.items()
    }
    smallest = {layer: entries[min(change[layer], key=lambda name: change[layer][name])] for layer, entries in candidates.items()}
    fixed = sum(part.kept for part in stored_parts(ready, {"layers": smallest}, uses))
    return Cost(float(stored_bytes(source, NO_PLAN, uses_of(source, few))), float(start), change, float(fixed))


def mac_cost(model: nn.Module, macs: Mapping[str, int], candidates: Candidates, cost_per_mac: Mapping[Any, Mapping[Any, float]]) -> Cost:
    """MACs of all layers, weighed by kind of layer and precision; the table takes the place of a clock (docs/decisions/0007)."""
    tables = {name: cost_per_mac[layer_kind(layer)] for name, layer in every_layer(model).items()}
    start = sum(count * tables[name]["float32"] for name, count in macs.items())
    change = {
        name: {precision: macs.get(name, 0) * (tables[name][precision] - tables[name]["float32"]) for precision in entries}
        for name, entries in candidates.items()
    }
    return Cost(start, start, change)


def layer_kind(layer: nn.Module) -> str:
    """Which row of the table of costs a layer has: a grouped convolution's kernels are those of a depthwise one."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return "depthwise" if layer.groups > 1 else "convolution"
    return "linear"


def layer_macs(model: nn.Module, example: Batch) -> dict[str, int]:
    """Multiply-accumulates of each layer with weights for one sample of `example`; those that do not run are left out."""
    counts: dict[str, int] = {}

    def add(name: str, layer: Any, _: tuple[Any, ...], output: Any) -> None:
        counts[name] = counts.get(name, 0) + _macs(layer, output)

    hooks = [layer.register_forward_hook(partial(add, name)) for name, layer in every_layer(model).items()]
    try:
        with torch.no_grad():
            model(**take(example, slice(0, 1)))
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def _macs(layer: AnyLayer, output: Any) -> int:
    """Of one call on one sample: every output is a product over its inputs; a recurrent layer's matrices are used at every step."""
    if isinstance(layer, RECURRENT_TYPES):
        steps = output[0].shape[1 if layer.batch_first else 0]
        return int(steps) * sum(matrix.numel() for matrix in matrices(layer).values())
    if isinstance(layer, nn.Embedding):
        return 0
    return int(output.numel()) * layer.weight[0].numel()


def goal(budget: MixedBudget) -> float:
    """The ratio that is asked for."""
    return budget.size_ratio or budget.latency_ratio or 1.0
