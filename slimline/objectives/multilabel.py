"""Any number of labels a sample: the answer is every label with a logit above 0."""

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
from slimline.objectives.columns import Floats, divided, mean, ratio, share, smooth
from slimline.objectives.distance import relative_change
from slimline.objectives.readings import Labels
from slimline.objectives.single import arrays, single

RAREST = 0.5
"""How many samples a label that never (or always) occurs counts as having (or lacking), in the answer that ignores its inputs."""


def _macro_f1(scores: Scores, counts: Floats) -> Floats:
    """F1 of each label, 0 where it is 0/0, averaged over all labels."""
    answer, target = scores["answer"], scores["target"]
    right = counts @ (answer & target).astype(np.float64)
    return np.asarray(divided(2 * right, counts @ (answer.astype(np.float64) + target)).mean(axis=1))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "f1": ratio("twice_right", "named"),
        "f1_macro": smooth(_macro_f1),
        "hamming_accuracy": mean("agreement"),
        "exact_match": share("exact"),
    }
)


@dataclass(frozen=True)
class Multilabel(Objective):
    """Outputs are logits [N, labels], targets 0 or 1 [N, labels].

    `weights` are what a label that is there counts in the loss, beside 1 where it is not. Implements slimline.objectives.Objective.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    name: str = "multilabel"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS, repr=False, compare=False)
    needs_targets: bool = True

    @property
    def reading(self) -> Labels:
        """How outputs are read without torch."""
        return Labels(self.labels)

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Binary cross-entropy, mean over samples and labels."""
        logits, target = single(outputs), single(targets)
        weights = None if self.weights is None else torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), pos_weight=weights)

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:
        """T² · KL(teacher || student) of each label's Bernoulli distribution at a temperature, mean over samples and labels."""
        student, teacher = single(outputs) / temperature, single(teacher_outputs) / temperature
        there = teacher.sigmoid() * (functional.logsigmoid(teacher) - functional.logsigmoid(student))
        absent = (-teacher).sigmoid() * (functional.logsigmoid(-teacher) - functional.logsigmoid(-student))
        return temperature**2 * (there + absent).mean()

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `answer` and `target` (bool [N, labels]), `exact` (0 or 1), `error` (1 - exact), `agreement` (the share of labels that
        are right), and what F1 is the ratio of: `twice_right` and `named` (labels in the answer plus labels in the target)."""
        answer, target = self.answers(outputs), single(targets).cpu().numpy() > 0.5
        same, right = answer == target, (answer & target).sum(axis=1)
        exact = same.all(axis=1).astype(np.int64)
        found = {"answer": answer, "target": target, "exact": exact, "error": 1 - exact, "agreement": same.mean(axis=1)}
        return found | {"twice_right": 2 * right, "named": answer.sum(axis=1) + target.sum(axis=1)}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """Which labels are there, bool [N, labels]."""
        return self.reading.answers(arrays(outputs))

    def shown(self, answer: Any) -> str:
        """The labels' names."""
        return self.reading.shown(answer)

    def distance(self, before: Tensors, after: Tensors) -> float:
        """The norm of the difference of the logits over the norm of those before."""
        return relative_change(before, after)

    def groups(self, scores: Scores) -> dict[str, dict[str, float]]:
        """Label -> {"recall": share} for every label that occurs."""
        found = ((label, scores["answer"][scores["target"][:, index], index]) for index, label in enumerate(self.labels))
        return {label: {"recall": float(named.mean())} for label, named in found if len(named)}

    def constant(self, targets: Tensors, outputs: Tensors) -> Tensor:
        """The log odds of how often each label occurs."""
        target, logits = single(targets).double(), single(outputs)
        there = target.sum(0).clamp(RAREST, len(target) - RAREST)
        return (there / (len(target) - there)).log().to(logits).expand_as(logits).clone()


def multilabel(labels: Sequence[str], weights: Sequence[float] | None = None) -> Multilabel:
    """Any of these labels; `weights` are what a label that is there counts in the loss (`pos_weight`), beside 1 where it is not."""
    return Multilabel(tuple(labels), None if weights is None else tuple(map(float, weights)))
