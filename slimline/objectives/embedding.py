"""Vectors without labels: right is what the baseline gives for the same samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.objectives import Metric, Objective, Scores
from slimline.objectives.columns import mean, smooth
from slimline.objectives.neighbours import neighbours_kept, rank_correlation
from slimline.objectives.readings import Vectors
from slimline.objectives.single import arrays, single

SHOWN = 3
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "cosine": mean("cosine", "cosine"),
        "rank_correlation": smooth(rank_correlation, "correlation"),
        "recall_at_10": smooth(neighbours_kept),
    }
)


def apart(one: Tensors, other: Tensors) -> Tensor:
    """1 - cosine of each sample's vectors [N], exactly 0 where they are equal: half the squared distance of the unit vectors."""
    first, second = (functional.normalize(single(given).flatten(1), dim=1) for given in (one, other))
    return (first - second).square().sum(1) / 2


@dataclass(frozen=True)
class Embedding(Objective):
    """Outputs are vectors [N, …]; targets are the baseline's outputs for the same samples. Implements slimline.objectives.Objective."""

    name: str = "embedding"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS, repr=False, compare=False)
    needs_targets: bool = False

    @property
    def reading(self) -> Vectors:
        """How outputs are read without torch."""
        return Vectors()

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """1 - cosine, mean over the batch."""
        return apart(outputs, targets).mean()

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:  # noqa: ARG002
        """1 - cosine, mean over the batch."""
        return apart(outputs, teacher_outputs).mean()

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `cosine`, `error` (1 - cosine), and the vectors `output` and `target` [N, numbers]."""
        vectors = {"output": single(outputs).detach().cpu().flatten(1), "target": single(targets).detach().cpu().flatten(1)}
        error = apart(vectors["output"].double(), vectors["target"].double()).numpy()
        return {"cosine": 1 - error, "error": error, **{name: value.float().numpy() for name, value in vectors.items()}}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """The vectors."""
        return self.reading.answers(arrays(outputs))

    def shown(self, answer: Any) -> str:
        """The first numbers of the vector."""
        return self.reading.shown(answer)

    def distance(self, before: Tensors, after: Tensors) -> float:
        """The mean of 1 - cosine."""
        return float(apart(before, after).mean())

    def groups(self, scores: Scores) -> dict[str, dict[str, float]]:  # noqa: ARG002
        """There is nothing to tell apart."""
        return {}

    def constant(self, targets: Tensors, outputs: Tensors) -> None:  # noqa: ARG002
        """One vector for all samples says nothing of which are alike."""
        return


def embedding() -> Embedding:
    """Vectors that are to point where the baseline's point."""
    return Embedding()
