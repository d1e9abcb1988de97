"""One of several classes: the answer is the one with the largest logit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor
from torch.nn import functional

from slimline.objectives import Metric, Scores
from slimline.objectives.distance import relative_change


def _macro(scores: Scores, which: int) -> float:
    return float(precision_recall_fscore_support(scores["target"], scores["answer"], average="macro", zero_division=0.0)[which])


TIE, SMALLEST = 1e-3, 1e-6
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric(lambda scores: float(scores["correct"].mean()), share_of="correct"),
        "precision": Metric(lambda scores: _macro(scores, 0)),
        "recall": Metric(lambda scores: _macro(scores, 1)),
        "f1": Metric(lambda scores: _macro(scores, 2)),
    }
)


@dataclass(frozen=True)
class Classification:
    """Outputs are logits [N, classes], or one logit [N] or [N, 1] for the second of two classes; targets class indices [N].

    `labels` are the names of the classes, `weights` what an error of each counts in the loss. Implements slimline.objectives.Objective.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    name: str = "classification"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS, repr=False, compare=False)

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits [N, classes]; one logit z is that of the second class, beside 0 for the first."""
        if outputs.dim() == 1 or outputs.shape[1:] == (1,):
            second = outputs.reshape(-1, 1)
            return torch.cat([torch.zeros_like(second), second], dim=1)
        return outputs

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, weighted by class where weights are given."""
        weights = None if self.weights is None else torch.tensor(self.weights, dtype=outputs.dtype, device=outputs.device)
        return functional.cross_entropy(self.logits(outputs), targets, weights)

    def guidance(self, outputs: Tensor, teacher_outputs: Tensor, temperature: float) -> Tensor:
        """T² · KL(teacher || student) at a temperature, mean over the batch (Hinton et al. 2015, arXiv:1503.02531)."""
        student = functional.log_softmax(self.logits(outputs) / temperature, dim=1)
        teacher = functional.log_softmax(self.logits(teacher_outputs) / temperature, dim=1)
        return temperature**2 * functional.kl_div(student, teacher, log_target=True, reduction="batchmean")

    def scores(self, outputs: Tensor, targets: Tensor) -> dict[str, NDArray[Any]]:
        """Columns `answer`, `target`, `correct` (0 or 1), `error` (1 - correct) and `confidence` (softmax of the answer)."""
        logits, target = self.logits(outputs).detach().float(), targets.numpy().astype(np.int64)
        answer = logits.argmax(1).numpy()
        correct = (answer == target).astype(np.int64)
        confidence = logits.softmax(1).max(1).values.numpy()
        return {"answer": answer, "target": target, "correct": correct, "error": 1 - correct, "confidence": confidence}

    def answers(self, outputs: Tensor) -> NDArray[Any]:
        """Class indices [N]."""
        return np.asarray(self.logits(outputs).detach().argmax(1))

    def same_answers(self, before: Tensor, after: Tensor) -> NDArray[np.bool_]:
        """Which samples get the same class [N]; where the two best before are within a thousandth of the largest is a tie."""
        old, new = self.logits(before).detach().float(), self.logits(after).detach().float()
        best = old.sort(dim=1).values
        tied = best[:, -1] - best[:, -2] < TIE * max(float(old.abs().max()), SMALLEST)
        return np.asarray((old.argmax(1) == new.argmax(1)) | tied)

    def confidence(self, outputs: Tensor) -> NDArray[np.float64]:
        """The softmax of each answer [N]."""
        return np.asarray(self.logits(outputs).detach().double().softmax(1).max(1).values)

    def shown(self, answer: Any) -> str:
        """The class's name."""
        return self.labels[int(answer)]

    def distance(self, before: Tensor, after: Tensor) -> float:
        """The norm of the difference of the logits over the norm of those before."""
        return relative_change(before, after)


def classification(labels: Sequence[str], weights: Sequence[float] | None = None) -> Classification:
    """One of these classes; `weights` are what an error of each counts in the loss."""
    return Classification(tuple(labels), None if weights is None else tuple(map(float, weights)))
