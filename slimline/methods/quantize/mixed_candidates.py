"""What each layer may become in a mixed plan, and what that alone does to the outputs."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from slimline.data.batch import Batch, Tensors, joined, take, tensors
from slimline.data.samples import Split, head, in_order
from slimline.methods.data import MethodData
from slimline.methods.quantize.gptq import compensated_plan
from slimline.methods.quantize.half import half
from slimline.methods.quantize.mixed_cost import Assignment, Candidates
from slimline.methods.quantize.mixed_search import Judged
from slimline.methods.quantize.plan import (
    BLOCKWISE_INT8,
    FLOAT_TABLE,
    INT8_WEIGHTS,
    KEPT,
    AnyLayer,
    Plan,
    every_layer,
    float_layer,
    table_owners,
    weighted_layers,
)
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import with_corrected_biases
from slimline.methods.quantize.tables import TablePrecision
from slimline.methods.quantize.weight_only import weight_entries
from slimline.objectives import Metric, Objective, metric_of, worse_by
from slimline.params import TEACHER, HalfParams, WeightOnlyParams
from slimline.params.quantize import MixedParams
from slimline.training.fit import BATCH_SIZE, HELD_BYTES, predict

SIXTEEN_BIT: tuple[Literal["float16", "bfloat16"], ...] = ("float16", "bfloat16")
EXACT_FIRST: tuple[str, ...] = ("float32", "float16", "bfloat16", "int8", "int4")
FLOAT_REASON = "no smaller precision was needed for the budget"


def candidates(ready: Quantized, config: MixedParams, data: MethodData) -> Candidates:
    """Layer -> precision -> entry, for every layer of a calibrated model and every precision of the config that it can take.

    int8 is as `static` plans it, or with `inputs: running` as `weight_only` does; float16 and bfloat16 as `half`, int4 as `weight_only`,
    symmetric and in groups. A layer in keep_float, and one that can take nothing else, has float32 alone.
    """
    sources = {"int8": ready.plan["layers"] if config.inputs == "calibrated" else _weights_alone(ready.model, config, data)}
    for dtype in SIXTEEN_BIT:
        if dtype in config.precisions:
            sources[dtype] = half(ready.model, HalfParams(source=TEACHER, method="half", dtype=dtype), data=data).plan["layers"]
    if "int4" in config.precisions:
        embeddings: TablePrecision = "float32" if config.embeddings == "float32" else "int4"
        settings: dict[str, Any] = {"bits": 4, "group_size": config.group_size, "embeddings": embeddings}
        four_bits = WeightOnlyParams(source=TEACHER, method="weight_only", **settings)
        sources["int4"] = weight_entries(ready.model, four_bits, data, granularity="per-group", symmetric=True)
    return {name: _entries(name, layer, sources, config) for name, layer in every_layer(ready.model).items()}


def _weights_alone(model: nn.Module, config: MixedParams, data: MethodData) -> dict[str, dict[str, Any]]:
    shared: dict[str, Any] = {"keep_float": config.keep_float, "embeddings": config.embeddings}
    eight_bits = WeightOnlyParams(source=TEACHER, method="weight_only", bits=8, **shared)
    return weight_entries(model, eight_bits, data, granularity=config.granularity, symmetric=True)


def _entries(name: str, layer: AnyLayer, sources: Mapping[str, Any], config: MixedParams) -> dict[str, dict[str, Any]]:
    planned = sources["int8"][name]
    if planned["reason"] in (KEPT, FLOAT_TABLE):
        return {"float32": planned}
    plain = {"float32": float_layer(layer, FLOAT_REASON)}
    found = plain | {precision: entries[name] for precision, entries in sources.items()}
    wanted: list[str] = [precision for precision in EXACT_FIRST if precision in config.precisions and precision in found]
    usable = {precision: found[precision] for precision in wanted if found[precision]["precision"] == precision}
    return usable if usable.keys() - {"float32"} else {"float32": plain["float32"] | {"reason": planned["reason"]}}


@dataclass(frozen=True)
class Realised:
    """Turns an assignment into a model and a plan.

    `ready` is the calibrated model: its own weights are those for int8, those of its reference for everything else.
    """

    ready: Quantized
    entries: Candidates
    config: MixedParams
    data: MethodData

    def of(self, assignment: Assignment) -> Quantized:
        """The model and plan in which every assigned layer has its precision; others are left out of the plan, in float."""
        reference = self.ready.reference or self.ready.model
        model, clipped = copy.deepcopy(reference), weighted_layers(self.ready.model)
        for name, layer in weighted_layers(model).items():
            if assignment.get(name) == "int8" and self.config.weight_observer == "mse":
                layer.weight.data.copy_(clipped[name].weight.data)
        owners = table_owners(model)
        precisions = {name: assignment.get(owners.get(name, name)) for name in self.entries}
        layers = {name: dict(self.entries[name][precision]) for name, precision in precisions.items() if precision is not None}
        running = {"scheme": {"weights": INT8_WEIGHTS, "activations": BLOCKWISE_INT8}} if self.config.inputs == "running" else {}
        plan: Plan = {**self.ready.plan, **running, "layers": layers}
        return Quantized(model, plan, reference=reference, notes=self.ready.notes)

    def corrected(self, assignment: Assignment) -> Quantized:
        """The same, its biases corrected where the config says so."""
        return with_corrected_biases(self.of(assignment), self.config, data=self.data)

    def finished(self, assignment: Assignment) -> Quantized:
        """What is judged as a whole, and saved: where the config says so, integer weights are rounded with compensation too."""
        made = self.of(assignment)
        made = compensated_plan(made, self.data) if self.config.compensate else made
        return with_corrected_biases(made, self.config, data=self.data)


@dataclass(frozen=True)
class Judge:
    """Compares a planned model with the source's outputs on calibration inputs and on validation."""

    objective: Objective
    metric: Metric
    calibration: Batch
    validation: Split
    targets: Tensors
    expected: tuple[Tensors, Tensors]

    @classmethod
    def on(cls, source: nn.Module, data: MethodData, samples: int | None = None) -> "Judge":
        """On all samples, or on the first so many of each of the two; at most so many as have HELD_BYTES of outputs."""
        each = sum(value.numel() for value in tensors(predict(source, take(data.calibration, slice(0, 1)))).values()) * 4
        most = max(HELD_BYTES // each, 1)
        samples = most if samples is None else min(samples, most)
        calibration, validation = take(data.calibration, slice(0, samples)), head(data.validation, samples)
        outputs, targets = _answered(source, validation)
        metric = metric_of(data.objective, data.metric)
        return cls(data.objective, metric, calibration, validation, targets, (predict(source, calibration), outputs))

    def __call__(self, made: Quantized) -> Judged:
        """The drop on validation, flips on both, and the divergence on both, of the plan as simulated."""
        twin = simulate(made.model, made.plan, made.grids)
        outputs = predict(twin, self.calibration), _answered(twin, self.validation)[0]
        drop = worse_by(self.metric, self._figure(self.expected[1]), self._figure(outputs[1]))
        before, after = joined(self.expected), joined(outputs)
        return Judged(drop, float(flipped(self.objective, before, after).mean()), divergence(self.objective, before, after))

    def _figure(self, outputs: Tensors) -> float:
        return float(self.metric.figure(self.objective.scores(outputs, self.targets)))


def flipped(objective: Objective, before: Tensors, after: Tensors) -> NDArray[np.bool_]:
    """Which samples are answered otherwise [N]; of answers that are numbers the objective says what is alike."""
    old, new = objective.answers(before), objective.answers(after)
    if old.dtype.kind == "f":
        return ~objective.same_answers(before, after)
    return np.asarray(np.not_equal(old, new).reshape(len(old), -1).any(axis=1))


def divergence(objective: Objective, before: Tensors, after: Tensors) -> float:
    """What a student would minimise to give `before` where it gives `after` (for classes: the mean KL divergence in nats); at least 0."""
    return max(float(objective.guidance(_double(after), _double(before), 1.0)), 0.0)


def _answered(model: nn.Module, split: Split) -> tuple[Tensors, Tensors]:
    """A model's outputs on a split, and the targets, in order."""
    parts = [(predict(model, batch.inputs), batch.targets) for batch in in_order(split, BATCH_SIZE)]
    return joined([outputs for outputs, _ in parts]), joined([targets for _, targets in parts])


def _double(outputs: Tensors) -> Tensors:
    return outputs.double() if isinstance(outputs, Tensor) else {name: value.double() for name, value in outputs.items()}
