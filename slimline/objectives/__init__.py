"""What is asked of a model, one objective a file: it alone knows what "right" means.

Every other room speaks of outputs, targets, scores, answers and metrics, and none of classes or labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from slimline.errors import ParamsError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from slimline.data.batch import Tensors

Scores = Mapping[str, "NDArray[Any]"]
"""What is noted of each sample: column name -> [N] or [N, …]."""
ALIKE, ROUNDING = 0.25, 1e-6
"""Numbers are alike where they differ by so much of the standard deviation of all."""
ALIKE_PARTS = 0.98
"""An answer in many parts is the same where so many of them are."""
Unit = str
"""`fraction` for a share of one, which is shown in per cent and falls in percentage points; else the word itself, such as `kWh`."""


@dataclass(frozen=True)
class Metric:
    """How the scores of samples make one figure.

    `figure` takes the scores of some samples; `better` says which way is good. A metric that is the mean of a column of 0 and 1 names it
    as `share_of`: its drop is then tested exactly (McNemar, Tango); every other by a paired bootstrap over samples.

    The rest says how thousands of resamples are computed at once; where nothing is said, `figure` is called once a resample.
    `mean_of` names the column that it is the mean of; `ratio_of` the two whose sums it is the ratio of. `weighted` takes the scores of
    K samples and how often each is in every resample, [resamples, K], and gives the figure of each [resamples]. `counted` names columns
    of whole numbers that `weighted` reads alone: samples that are equal in them are drawn as one.
    slimline.objectives.columns makes such metrics.
    """

    figure: "Callable[[Scores], float]"
    unit: Unit = "fraction"
    better: Literal["higher", "lower"] = "higher"
    share_of: str | None = None
    mean_of: str | None = None
    ratio_of: tuple[str, str] | None = None
    weighted: "Callable[[Scores, NDArray[Any]], NDArray[Any]] | None" = None
    counted: tuple[str, ...] = ()


@runtime_checkable
class Objective(Protocol):
    """What is asked of a model. Outputs are what the net gives, one tensor [N, …] or several by name; so are targets.

    One of your own inherits from it: name, metrics, loss and scores are needed, all else has a default.
    """

    name: str
    """As params.yaml and manifests call it."""
    metrics: Mapping[str, Metric]
    """The first one is the objective's main metric."""
    needs_targets: bool = True
    """Whether samples come with targets; where they do not, what the baseline gives for a sample is its target."""

    def loss(self, outputs: "Tensors", targets: "Tensors") -> "Tensor":
        """The training loss, a scalar."""

    def guidance(self, outputs: "Tensors", teacher_outputs: "Tensors", temperature: float) -> "Tensor":
        """What a student minimises against its teacher, a scalar; 0 where both give the same. By default the squared difference."""
        from slimline.data.batch import flat

        return (flat(outputs) - flat(teacher_outputs)).square().mean()

    def scores(self, outputs: "Tensors", targets: "Tensors") -> "dict[str, NDArray[Any]]":
        """One row a sample. The column `error` is there always: how wrong the answer is, 0 where it is right.

        A column `cluster` (int64 [N]) says which samples belong together (pages of a document, images of a patient): they are resampled
        as one. `confidence` [N], `answer` and `target` are shown where they are there.
        """

    def beside(self, outputs: "Tensors", baseline: "Tensors", targets: "Tensors") -> "dict[str, NDArray[Any]]":
        """More columns of scores, of what can be told only beside the baseline's outputs for the same samples; none by default."""
        return {}

    def answers(self, outputs: "Tensors") -> "NDArray[Any]":
        """What the model answers, a sample each [N] or [N, …]: a class, a number, a set of labels; by default the output itself."""
        from slimline.data.batch import flat

        return flat(outputs).detach().numpy()

    def shown(self, answer: Any) -> str:
        """An answer (or a target) in a few characters, for people."""
        import numpy as np

        return np.array2string(np.asarray(answer), precision=4, separator=", ", threshold=8)

    def distance(self, before: "Tensors", after: "Tensors") -> float:
        """How far outputs moved, from 0 on: where no target is at hand."""
        from slimline.objectives.distance import relative_change

        return relative_change(before, after)

    def groups(self, scores: Scores) -> dict[str, dict[str, float]]:
        """Figures of parts of the samples for a table, such as class -> {"recall": share}; empty where there is nothing to tell apart."""
        return {}

    def constant(self, targets: "Tensors", outputs: "Tensors") -> "Tensors | None":
        """What the best model that ignores its inputs would give for all samples, shaped like `outputs`; None where there is none."""
        return None

    def same_answers(self, before: "Tensors", after: "Tensors") -> "NDArray[Any]":
        """Which samples are answered alike, bool [N]: numbers that differ by no more than a quarter of their spread are.

        Of an answer in many parts, such as a class a pixel, one in fifty may differ.
        """
        import numpy as np

        old, new = (np.asarray(self.answers(outputs)) for outputs in (before, after))
        if old.dtype.kind == "f":
            spread = old.reshape(len(old), -1).std(axis=0)
            same = np.abs(new - old).reshape(len(old), -1) <= ALIKE * spread + ROUNDING
        else:
            same = (old == new).reshape(len(old), -1)
        return np.asarray(same.mean(axis=1) >= ALIKE_PARTS)

    def strata(self, targets: "Tensors") -> "NDArray[Any] | None":
        """The group that each sample belongs to, such as its class, by which splits are balanced; None where there are none."""
        return None

    def every_stratum(self) -> tuple[str, ...]:
        """The groups that every split must hold; none where any will do."""
        return ()

    def outputs_breach(self, outputs: "Tensors") -> str:
        """What is wrong with a net's outputs, in a sentence; empty where nothing is."""
        return ""

    def targets_breach(self, targets: "Tensors") -> str:
        """What is wrong with targets, in a sentence; empty where nothing is."""
        return ""


def metric_of(objective: Objective, name: str) -> Metric:
    """The named metric of an objective.

    Raises:
        ParamsError: it has none of that name.
    """
    if name not in objective.metrics:
        known = ", ".join(objective.metrics)
        raise ParamsError([f"params.yaml: gate.metric: the objective {objective.name} has no metric {name!r}; it has: {known}"])
    return objective.metrics[name]


def figures(objective: Objective, scores: Scores) -> dict[str, float]:
    """Every metric of the samples that were scored."""
    return {name: float(metric.figure(scores)) for name, metric in objective.metrics.items()}


def joined_scores(parts: Sequence[Scores]) -> dict[str, "NDArray[Any]"]:
    """The scores of all parts as one."""
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def taken_scores(scores: Scores, rows: "NDArray[Any]") -> dict[str, "NDArray[Any]"]:
    """The scores of these rows."""
    return {name: column[rows] for name, column in scores.items()}


def worse_by(metric: Metric, before: float, after: float) -> float:
    """A drop: by how much the figure got worse, below 0 where it got better."""
    return before - after if metric.better == "higher" else after - before
