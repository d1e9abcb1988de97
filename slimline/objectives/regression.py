"""One number or several: the answer is as wrong as it is far off."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.objectives import Metric, Objective, Scores, Unit
from slimline.objectives.columns import Floats, mean, smooth
from slimline.objectives.distance import relative_change
from slimline.objectives.readings import Numbers
from slimline.objectives.single import arrays, single

Loss = Literal["squared", "absolute", "huber"]
LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"squared": functional.mse_loss, "absolute": functional.l1_loss, "huber": functional.huber_loss}
)


def _each(column: NDArray[Any]) -> Floats:
    """One column a number, [N, numbers]."""
    return column.reshape(len(column), -1).astype(np.float64)


def _root_mean_squared_error(scores: Scores, counts: Floats) -> Floats:
    squared = (_each(scores["answer"]) - _each(scores["target"])) ** 2
    found: Floats = np.sqrt(counts @ squared / counts.sum(axis=1, keepdims=True)).mean(axis=1)
    return found


def _r2(scores: Scores, counts: Floats) -> Floats:
    """1 - squared error over that of the mean, averaged over the numbers; as scikit-learn, 1 where both are 0 and 0 where only one is."""
    target, samples = _each(scores["target"]), counts.sum(axis=1, keepdims=True)
    centred = target - target.mean(axis=0)
    left = counts @ (_each(scores["answer"]) - target) ** 2
    spread = np.maximum(0.0, counts @ centred**2 - (counts @ centred) ** 2 / samples)
    moves = spread > np.finfo(np.float64).eps * (counts @ centred**2)
    found = 1 - np.divide(left, spread, out=np.where(left == 0, 0.0, 1.0), where=moves)
    means: Floats = found.mean(axis=1)
    return means


def _metrics(unit: Unit) -> Mapping[str, Metric]:
    return MappingProxyType(
        {
            "mean_absolute_error": mean("absolute_error", unit, "lower"),
            "root_mean_squared_error": smooth(_root_mean_squared_error, unit, "lower"),
            "r2": smooth(_r2),
        }
    )


@dataclass(frozen=True)
class Regression(Objective):
    """Outputs are numbers [N] or [N, numbers], targets the same; both are compared number by number.

    With `mean` and `scale` the net gives standardised numbers, (target - mean) / scale, which the loss is in too; targets, scores and
    answers are in the targets' own `unit`. Implements slimline.objectives.Objective.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    unit: Unit
    kind: Loss
    name: str = "regression"
    metrics: Mapping[str, Metric] = field(default_factory=dict, repr=False, compare=False)
    needs_targets: bool = True

    @property
    def reading(self) -> Numbers:
        """How outputs are read without torch."""
        return Numbers(self.names, self.mean, self.scale, self.unit)

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """The mean error of the standardised numbers, squared or as `kind` says."""
        given = self._rows(outputs)
        target = (self._rows(targets).to(given.dtype) - self._row(self.mean, given)) / self._row(self.scale, given)
        return LOSSES[self.kind](given, target)

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:  # noqa: ARG002
        """The mean squared difference of the standardised numbers."""
        return functional.mse_loss(self._rows(outputs), self._rows(teacher_outputs))

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `answer` and `target` [N] or [N, numbers], `absolute_error` and `error`, its same (the mean over the numbers)."""
        answer = self.answers(outputs)
        target = self._rows(targets).cpu().numpy().astype(np.float64).reshape(answer.shape)
        error = np.abs(_each(answer) - _each(target)).mean(axis=1)
        return {"answer": answer, "target": target, "absolute_error": error, "error": error}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """The numbers in their own unit, float64 [N], or [N, numbers] where there are several."""
        return self.reading.answers(arrays(outputs))

    def outputs_breach(self, outputs: Tensors) -> str:
        """There is a number for each name."""
        given = single(outputs)
        wide = given.shape[1:].numel() if given.dim() > 1 else 1
        if given.is_floating_point() and wide == len(self.names):
            return ""
        return f"gives {given.dtype} {list(given.shape)} for {len(given)} samples; it must give {len(self.names)} numbers a sample"

    def targets_breach(self, targets: Tensors) -> str:
        """There is a number for each name."""
        given = single(targets)
        wide = given.shape[1:].numel() if given.dim() > 1 else 1
        return "" if wide == len(self.names) else f"targets are {list(given.shape)}; give {len(self.names)} numbers a sample"

    def shown(self, answer: Any) -> str:
        """The number with its unit; several with their names."""
        return self.reading.shown(answer)

    def distance(self, before: Tensors, after: Tensors) -> float:
        """The norm of the difference over the norm of the outputs before."""
        return relative_change(before, after)

    def groups(self, scores: Scores) -> dict[str, dict[str, float]]:
        """Where there are several numbers, name -> {"mean_absolute_error": …}."""
        if len(self.names) == 1:
            return {}
        errors = np.abs(scores["answer"] - scores["target"]).mean(axis=0)
        return {name: {"mean_absolute_error": float(error)} for name, error in zip(self.names, errors, strict=True)}

    def constant(self, targets: Tensors, outputs: Tensors) -> Tensor:
        """The mean of the targets, the median where the loss is absolute; standardised."""
        target, given = self._rows(targets).double(), single(outputs)
        middle = target.quantile(0.5, dim=0) if self.kind == "absolute" else target.mean(0)
        row = (middle - self._row(self.mean, middle)) / self._row(self.scale, middle)
        return row.to(given).expand(len(target), -1).reshape(given.shape).clone()

    def _rows(self, values: Tensors) -> Tensor:
        """[N, numbers] of [N] or [N, numbers]."""
        return single(values).reshape(-1, len(self.names))

    def _row(self, numbers: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)


def regression(
    names: Sequence[str] | str = "value",
    *,
    mean: Sequence[float] | float = 0.0,
    scale: Sequence[float] | float = 1.0,
    unit: Unit = "units",
    kind: Loss = "squared",
) -> Regression:
    """Numbers of these names, in `unit`; the net gives (target - mean) / scale. `kind` is that of the loss."""
    each = (names,) if isinstance(names, str) else tuple(names)
    means, scales = (tuple(map(float, (given,) * len(each) if isinstance(given, int | float) else given)) for given in (mean, scale))
    return Regression(each, means, scales, unit, kind, metrics=_metrics(unit))
