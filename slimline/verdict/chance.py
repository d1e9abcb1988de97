"""Is a model better than chance? Against the best answer that ignores the inputs, and against its own answers dealt out at random."""

from dataclasses import dataclass

import numpy as np

from slimline.objectives import Objective, Scores, metric_of, worse_by
from slimline.verdict.difference import Resampling, metric_drop

DEALS = 2000
LEVEL = 0.001
"""How rarely answers that know nothing would look as good as this."""


@dataclass(frozen=True)
class Chance:
    """What a model reaches on a metric beside what ignores its inputs; `gain` is by how much it is better, with its interval.

    `answer` is what is always answered, in words, where that is one answer. `knows` says whether the model's answers have to do with the
    targets at all.
    """

    metric: str
    value: float
    answer: str
    constant: float
    gain: tuple[float, float]
    ahead: float
    knows: bool

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better, and not by luck alone; few samples of a rare answer may leave open by how much."""
        return self.ahead > 0 and self.knows

    @property
    def is_shown(self) -> bool:
        """Whether the samples show that it is better than what ignores its inputs."""
        return self.gain[0] > 0


def chance(objective: Objective, metric: str, scores: Scores, constant: Scores, resampling: Resampling) -> Chance:
    """A model's scores against those of `objective.constant` on the same samples.

    Where scores note answers that are right or wrong, a permutation test tells whether they have to do with the targets; else the paired
    test of the metric does.
    """
    asked = metric_of(objective, metric)
    gain = metric_drop(objective, metric, scores, constant, resampling).ci
    value, least = float(asked.figure(scores)), float(asked.figure(constant))
    knows = _knows(scores, resampling.seed) if _is_exact(scores) else gain[0] > 0
    answer = objective.shown(constant["answer"][0]) if "answer" in constant else ""
    return Chance(metric, value, answer, least, gain, worse_by(asked, value, least), knows)


def _is_exact(scores: Scores) -> bool:
    """Whether answers are right or wrong: whole numbers, or yes and no."""
    return all(name in scores and scores[name].dtype.kind in "iub" for name in ("answer", "target"))


def _knows(scores: Scores, seed: int) -> bool:
    """A permutation test: dealt out at random, hardly ever so many of the same answers are right."""
    answers, targets = scores["answer"], scores["target"]
    draw, right = np.random.default_rng(seed), int((answers == targets).sum())
    as_good = sum(int((draw.permutation(answers) == targets).sum()) >= right for _ in range(DEALS))
    return (1 + as_good) / (1 + DEALS) < LEVEL
