"""2,000 experiments for each paired test: the interval of the drop, at 95 %, covers the true drop in 93 to 97 of 100."""

from collections.abc import Callable

import numpy as np
import pytest

from slimline.objectives import Objective, Scores
from slimline.objectives.causal_lm import causal_lm
from slimline.objectives.classification import classification
from slimline.objectives.multilabel import multilabel
from slimline.objectives.regression import regression
from slimline.verdict.difference import Resampling, metric_drop, tango_interval

EXPERIMENTS = 2000
RESAMPLES = 399
Draw = Callable[[np.random.Generator], tuple[Scores, Scores]]
THREE, LABELS, KWH = classification("abc"), multilabel("abcd"), regression(unit="kWh")


def covered(objective: Objective, metric: str, draw: Draw, truth: float) -> float:
    generator, held = np.random.default_rng(0), 0
    for seed in range(EXPERIMENTS):
        low, high = metric_drop(objective, metric, *draw(generator), Resampling(RESAMPLES, 0.95, seed)).ci
        held += low <= truth <= high
    return held / EXPERIMENTS


def test_a_share_by_tango() -> None:
    samples, lost, gained = 300, 0.05, 0.02
    flips = np.random.default_rng(0).multinomial(samples, [lost, gained, 1 - lost - gained], size=EXPERIMENTS)[:, :2]
    pairs, often = np.unique(flips, axis=0, return_counts=True)
    ends = [tango_interval(int(one), int(other), samples, 0.95) for one, other in pairs]
    held = sum(count for (low, high), count in zip(ends, often, strict=True) if low <= lost - gained <= high)
    assert 0.93 <= held / EXPERIMENTS <= 0.97


def of_errors(before: np.ndarray, after: np.ndarray, **more: np.ndarray) -> tuple[Scores, Scores]:
    return tuple({"absolute_error": errors, "error": errors, **more} for errors in (before, after))


@pytest.mark.slow
def test_a_mean_of_few_skewed_errors() -> None:
    def draw(generator: np.random.Generator) -> tuple[Scores, Scores]:
        before = generator.exponential(1, 40)
        return of_errors(before, before * 0.8 + generator.exponential(0.5, 40))

    assert 0.93 <= covered(KWH, "mean_absolute_error", draw, 0.3) <= 0.97


@pytest.mark.slow
def test_a_ratio_of_sums() -> None:
    """Micro F1's columns, of 40 samples that name few labels or many."""
    names = np.array([0.9, 0.6])

    def draw(generator: np.random.Generator) -> tuple[Scores, Scores]:
        named = 1 + generator.geometric(0.3, 40)
        rights = generator.binomial(named, names[0]), generator.binomial(named, names[1])
        return tuple({"twice_right": right, "named": named, "error": named - right} for right in rights)

    assert 0.93 <= covered(LABELS, "f1", draw, float(names[0] - names[1])) <= 0.97


@pytest.mark.slow
def test_clusters_of_unequal_size() -> None:
    """30 documents of 1 to 12 samples whose errors go together; percentiles would cover 90 of 100."""

    def draw(generator: np.random.Generator) -> tuple[Scores, Scores]:
        cluster = np.repeat(np.arange(30), generator.integers(1, 13, 30))
        shared = generator.exponential(0.5, 30)[cluster]
        before = generator.exponential(1, len(cluster))
        return of_errors(before, before + shared + generator.normal(0, 0.2, len(cluster)), cluster=cluster)

    assert 0.93 <= covered(KWH, "mean_absolute_error", draw, 0.5) <= 0.97


@pytest.mark.slow
def test_documents_of_which_few_are_most_of_the_text() -> None:
    """12 texts, half of whose bytes stand in two or three: 88 of 100 are covered, and no interval is endless."""

    def draw(generator: np.random.Generator) -> tuple[Scores, Scores]:
        tokens = np.round(np.exp(generator.normal(9, 1.0, 12)))
        bits = 1.5 * np.exp(generator.normal(0, 0.1, 12)) * tokens
        grown = bits * (1 + 0.02 * generator.exponential(1, 12))
        return tuple({"bits": found, "bytes": tokens, "error": found / tokens, "cluster": np.arange(12)} for found in (bits, grown))

    generator, held, widths = np.random.default_rng(0), 0, []
    for seed in range(EXPERIMENTS):
        low, high = metric_drop(causal_lm(), "bits_per_byte", *draw(generator), Resampling(RESAMPLES, 0.95, seed)).ci
        held, widths = held + (low <= 0.03 * float(np.exp(0.005)) <= high), [*widths, high - low]
    assert 0.88 <= held / EXPERIMENTS <= 0.97
    assert max(widths) < 1


@pytest.mark.slow
@pytest.mark.parametrize("documents", [2, 4])
def test_a_handful_of_documents(documents: int) -> None:
    """Student's t where resamples without spread abound."""

    def draw(generator: np.random.Generator) -> tuple[Scores, Scores]:
        before = generator.normal(5, 1, documents)
        return of_errors(before, before + generator.normal(0.5, 0.2, documents))

    assert 0.93 <= covered(KWH, "mean_absolute_error", draw, 0.5) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("samples", [150])
def test_macro_f1_by_percentiles(samples: int) -> None:
    """Classes of 60, 25 and 15 %; wrong answers are dealt to the other two alike."""
    shares, rights = np.array([0.6, 0.25, 0.15]), (0.9, 0.82)

    def true_f1(right: float) -> float:
        wrong = (1 - right) / 2
        named = shares * right + wrong * (1 - shares)
        return float((2 * shares * right / (shares + named)).mean())

    def draw(generator: np.random.Generator) -> tuple[Scores, Scores]:
        target, luck, turn = generator.choice(3, samples, p=shares), generator.random(samples), generator.integers(1, 3, samples)
        answers = [np.where(luck < right, target, (target + turn) % 3) for right in rights]
        return tuple({"target": target, "answer": answer, "error": (answer != target).astype(int)} for answer in answers)

    assert 0.93 <= covered(THREE, "f1", draw, true_f1(rights[0]) - true_f1(rights[1])) <= 0.97
