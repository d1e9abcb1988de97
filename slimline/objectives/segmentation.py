"""One of several classes for every pixel (or every step of a signal)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.objectives import Metric, Objective, Scores
from slimline.objectives.columns import Floats, divided, ratio, smooth
from slimline.objectives.distance import relative_change
from slimline.objectives.readings import IGNORED, Pixels
from slimline.objectives.single import arrays, single

RAREST = 0.5


def _mean_iou(scores: Scores, counts: Floats) -> Floats:
    """The pixels that are a class in answer and target over those that are it in either, averaged over the classes that occur."""
    above, below = (counts @ scores[name].astype(np.float64) for name in ("intersection", "union"))
    return divided(divided(above, below).sum(axis=1), (below > 0).sum(axis=1))


METRICS: Mapping[str, Metric] = MappingProxyType({"mean_iou": smooth(_mean_iou), "pixel_accuracy": ratio("right", "pixels")})


@dataclass(frozen=True)
class Segmentation(Objective):
    """Outputs are logits [N, classes, height, width] (or [N, classes, length]), targets class indices [N, height, width].

    Pixels whose target is `ignore_index` count nowhere. Implements slimline.objectives.Objective.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    ignore_index: int = IGNORED
    name: str = "segmentation"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS, repr=False, compare=False)
    needs_targets: bool = True

    @property
    def reading(self) -> Pixels:
        """How outputs are read without torch."""
        return Pixels(self.labels, self.ignore_index)

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Cross-entropy, mean over the pixels that count, weighted by class where weights are given; 0 where none counts."""
        logits, target = single(outputs), single(targets).long()
        counting = target != self.ignore_index
        weights = torch.ones(logits.shape[1]) if self.weights is None else torch.tensor(self.weights)
        weights = weights.to(logits)
        whole = weights[torch.where(counting, target, 0)][counting].sum().clamp_min(torch.finfo(logits.dtype).tiny)
        return functional.cross_entropy(logits, target, weights, ignore_index=self.ignore_index, reduction="sum") / whole

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:
        """T² · KL(teacher || student) of each pixel's distribution at a temperature, mean over pixels and batch."""
        student, teacher = (functional.log_softmax(single(given) / temperature, dim=1) for given in (outputs, teacher_outputs))
        return temperature**2 * functional.kl_div(student, teacher, log_target=True, reduction="none").sum(1).mean()

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `intersection` and `union` (pixels of each class, int64 [N, classes]), `right` and `pixels` (those that count), and
        `error`: the share of the pixels that count that is wrong."""
        logits, target = single(outputs).detach().cpu().flatten(2), single(targets).cpu().long().flatten(1)
        answer, counts = logits.argmax(1), target != self.ignore_index
        right = counts & (answer == target)
        inside, given, true = (_pixels(values, of, logits.shape[1]) for values, of in ((target, right), (answer, counts), (target, counts)))
        rights, pixels = right.sum(1).numpy(), counts.sum(1).numpy()
        error = (pixels - rights) / np.maximum(pixels, 1)
        return {"intersection": inside, "union": given + true - inside, "right": rights, "pixels": pixels, "error": error}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """Class indices [N, height, width], of one byte each where that is enough."""
        return self.reading.answers(arrays(outputs))

    def shown(self, answer: Any) -> str:
        """The commonest classes with their shares of the pixels."""
        return self.reading.shown(answer)

    def distance(self, before: Tensors, after: Tensors) -> float:
        """The norm of the difference of the logits over the norm of those before."""
        return relative_change(before, after)

    def groups(self, scores: Scores) -> dict[str, dict[str, float]]:
        """Label -> {"iou": …} for every class that occurs."""
        above, below = scores["intersection"].sum(axis=0), scores["union"].sum(axis=0)
        return {label: {"iou": float(above[at] / below[at])} for at, label in enumerate(self.labels) if below[at]}

    def constant(self, targets: Tensors, outputs: Tensors) -> Tensor:
        """The logarithm of each class's share of the pixels, so that every pixel is the commonest class."""
        logits, target = single(outputs), single(targets).long()
        counts = torch.bincount(target[target != self.ignore_index], minlength=logits.shape[1]).double().clamp_min(RAREST)
        common = (counts / counts.sum()).log().to(logits)
        return common.reshape(1, -1, *(1,) * (logits.dim() - 2)).expand_as(logits).clone()


def _pixels(values: Tensor, which: Tensor, classes: int) -> NDArray[np.int64]:
    """How many of the pixels [N, pixels] for which `which` holds are of each class [N, classes]."""
    counts = torch.zeros(len(values), classes, dtype=torch.long)
    return counts.scatter_add_(1, torch.where(which, values, 0), which.long()).numpy()


def segmentation(labels: Sequence[str], weights: Sequence[float] | None = None, ignore_index: int = IGNORED) -> Segmentation:
    """One of these classes a pixel; `weights` are what a pixel of each counts in the loss."""
    return Segmentation(tuple(labels), None if weights is None else tuple(map(float, weights)), ignore_index)
