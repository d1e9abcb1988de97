"""One of several classes: the answer is the one with the largest logit."""

import dataclasses
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
from slimline.objectives.columns import mean, share, smooth
from slimline.objectives.distance import relative_change
from slimline.objectives.macro import COUNTED, area_under_curve, counted_metric
from slimline.objectives.readings import Classes
from slimline.objectives.single import arrays, single

RAREST = 0.5
"""How many samples a class without any counts as, in the answer that ignores its inputs."""


def _macro(name: str, which: int) -> Metric:
    def figure(scores: Scores) -> float:
        from sklearn.metrics import precision_recall_fscore_support

        return float(precision_recall_fscore_support(scores["target"], scores["answer"], average="macro", zero_division=0.0)[which])

    return Metric(figure, weighted=counted_metric(name), counted=COUNTED)


TIE, SMALLEST = 1e-3, 1e-6
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": dataclasses.replace(share("correct"), weighted=counted_metric("accuracy"), counted=COUNTED),
        "precision": _macro("precision", 0),
        "recall": _macro("recall", 1),
        "f1": _macro("f1", 2),
        "log_loss": mean("nats", "nats", "lower"),
    }
)
OF_TWO: Mapping[str, Metric] = MappingProxyType(
    {**METRICS, "roc_auc": smooth(lambda scores, counts: area_under_curve(scores["second"], scores["target"], counts))}
)


@dataclass(frozen=True)
class Classification(Objective):
    """Outputs are logits [N, classes], or one logit [N] or [N, 1] for the second of two classes; targets class indices [N].

    `labels` are the names of the classes, `weights` what an error of each counts in the loss. Implements slimline.objectives.Objective.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    name: str = "classification"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS, repr=False, compare=False)
    needs_targets: bool = True

    @property
    def reading(self) -> Classes:
        """How outputs are read without torch."""
        return Classes(self.labels)

    def logits(self, outputs: Tensors) -> Tensor:
        """Logits [N, classes]; one logit z is that of the second class, beside 0 for the first."""
        given = single(outputs)
        if given.dim() == 1 or given.shape[1:] == (1,):
            second = given.reshape(-1, 1)
            return torch.cat([torch.zeros_like(second), second], dim=1)
        return given

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Cross-entropy, weighted by class where weights are given."""
        logits = self.logits(outputs)
        weights = None if self.weights is None else torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return functional.cross_entropy(logits, single(targets).long(), weights)

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:
        """T² · KL(teacher || student) at a temperature, mean over the batch (Hinton et al. 2015, arXiv:1503.02531)."""
        student = functional.log_softmax(self.logits(outputs) / temperature, dim=1)
        teacher = functional.log_softmax(self.logits(teacher_outputs) / temperature, dim=1)
        return temperature**2 * functional.kl_div(student, teacher, log_target=True, reduction="batchmean")

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `answer`, `target`, `correct` (0 or 1), `error` (1 - correct), `confidence` (softmax of the answer) and `nats`.

        `nats` is minus the logarithm of the softmax of the target. For two classes also `second`: by how much the second logit is larger.
        """
        logits = self.logits(outputs).detach().float().cpu()
        answer, target = logits.argmax(1).numpy(), single(targets).cpu().numpy().astype(np.int64)
        correct, values = (answer == target).astype(np.int64), logits.numpy()
        shifted = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
        logs = logits.double().log_softmax(1).numpy()
        found = {"answer": answer, "target": target, "correct": correct, "error": 1 - correct}
        found |= {"confidence": shifted.max(axis=1) / shifted.sum(axis=1), "nats": -np.take_along_axis(logs, target[:, None], 1)[:, 0]}
        return found | ({"second": values[:, 1].astype(np.float64) - values[:, 0]} if values.shape[1] == 2 else {})

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """Class indices [N]."""
        return self.reading.answers(arrays(outputs))

    def strata(self, targets: Tensors) -> NDArray[Any]:
        """The class of each sample, by its name."""
        return np.asarray(self.labels)[single(targets).numpy().astype(np.int64)]

    def every_stratum(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.labels

    def outputs_breach(self, outputs: Tensors) -> str:
        """Logits are one for each label, or one alone where there are two."""
        if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
            return f"gives {type(outputs).__name__ if not isinstance(outputs, Tensor) else outputs.dtype}, where logits are expected"
        wide = outputs.shape[1:] if outputs.dim() > 1 else (1,)
        if tuple(wide) == (len(self.labels),) or (tuple(wide) == (1,) and len(self.labels) == 2):
            return ""
        return f"gives {list(outputs.shape)} for {len(outputs)} samples; {len(self.labels)} labels take logits [N, {len(self.labels)}]"

    def targets_breach(self, targets: Tensors) -> str:
        """Class indices are whole numbers from 0, one for each label."""
        given = single(targets)
        if given.dim() != 1 or given.is_floating_point():
            return f"targets are {given.dtype} {list(given.shape)}; give class indices, whole numbers [N]"
        wrong = torch.nonzero((given < 0) | (given >= len(self.labels))).flatten()
        if len(wrong) == 0:
            return ""
        known = f"there are {len(self.labels)} labels, from 0 to {len(self.labels) - 1}"
        return f"row {int(wrong[0])} has the class {int(given[wrong[0]])}; {known}"

    def same_answers(self, before: Tensors, after: Tensors) -> NDArray[np.bool_]:
        """Which samples get the same class [N]; where the two best before are within a thousandth of the largest is a tie."""
        old, new = self.logits(before).detach().float(), self.logits(after).detach().float()
        best = old.sort(dim=1).values
        tied = best[:, -1] - best[:, -2] < TIE * max(float(old.abs().max()), SMALLEST)
        return np.asarray((old.argmax(1) == new.argmax(1)) | tied)

    def confidence(self, outputs: Tensors) -> NDArray[np.float64]:
        """The softmax of each answer [N]."""
        return self.reading.confidence(arrays(outputs))

    def shown(self, answer: Any) -> str:
        """The class's name."""
        return self.reading.shown(answer)

    def distance(self, before: Tensors, after: Tensors) -> float:
        """The norm of the difference of the logits over the norm of those before."""
        return relative_change(before, after)

    def groups(self, scores: Scores) -> dict[str, dict[str, float]]:
        """Label -> {"recall": share} for every class that occurs."""
        of = {label: scores["correct"][scores["target"] == index] for index, label in enumerate(self.labels)}
        return {label: {"recall": float(correct.mean())} for label, correct in of.items() if len(correct)}

    def constant(self, targets: Tensors, outputs: Tensors) -> Tensor:
        """The logarithm of how often each class occurs, so that the answer is the commonest."""
        given, logits = single(outputs), self.logits(outputs)
        counts = torch.bincount(single(targets).long(), minlength=logits.shape[1]).double().clamp_min(RAREST)
        common = (counts / counts.sum()).log().to(logits)
        return common.expand_as(logits).clone() if given.shape == logits.shape else (common[1] - common[0]).expand_as(given).clone()


def classification(labels: Sequence[str], weights: Sequence[float] | None = None) -> Classification:
    """One of these classes; `weights` are what an error of each counts in the loss."""
    metrics = OF_TWO if len(labels) == 2 else METRICS
    return Classification(tuple(labels), None if weights is None else tuple(map(float, weights)), metrics=metrics)
