"""Is a model better than chance? Against always giving the commonest class, and against its own answers dealt out at random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slimline.verdict.difference import Resampling, metric_drop

DEALS = 2000
LEVEL = 0.001
"""How rarely answers that know nothing would look as good as this."""

Metrics = Callable[[NDArray[np.float32], NDArray[np.int64]], Mapping[str, float]]


@dataclass(frozen=True)
class Chance:
    """What a model reaches on a metric beside always giving the class `answer`; `gain` is the difference with its interval.

    `knows` says whether its answers have to do with the labels at all.
    """

    metric: str
    value: float
    answer: int
    constant: float
    gain: tuple[float, float]
    knows: bool

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better, and not by luck alone; few samples of a rare class may leave open by how much."""
        return self.value > self.constant and self.knows

    @property
    def is_shown(self) -> bool:
        """Whether the samples show that it is better than the constant answer."""
        return self.gain[0] > 0


def chance(logits: NDArray[np.float32], targets: NDArray[np.int64], metric: str, metrics: Metrics, resampling: Resampling) -> Chance:
    """A model's logits [N, classes] against always giving the commonest class, on the same samples."""
    answer = int(np.bincount(targets).argmax())
    constant = _always(answer, logits.shape)
    gain = metric_drop(metric, (logits, constant), targets, metrics, resampling).ci
    value, least = (float(metrics(outputs, targets)[metric]) for outputs in (logits, constant))
    return Chance(metric, value, answer, least, gain, _knows(logits.argmax(1), targets, resampling.seed))


def _always(answer: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    logits = np.zeros(shape, np.float32)
    logits[:, answer] = 1.0
    return logits


def _knows(answers: NDArray[np.int64], targets: NDArray[np.int64], seed: int) -> bool:
    """A permutation test: dealt out at random, hardly ever so many of the same answers are right."""
    draw, right = np.random.default_rng(seed), int((answers == targets).sum())
    as_good = sum(int((draw.permutation(answers) == targets).sum()) >= right for _ in range(DEALS))
    return (1 + as_good) / (1 + DEALS) < LEVEL
