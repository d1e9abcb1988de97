"""Non-inferiority: the p-value says what the interval says, and Holm's procedure keeps its promise for many variants."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from slimline.objectives import Scores
from slimline.objectives.classification import classification
from slimline.objectives.regression import regression
from slimline.verdict.difference import Resampling, metric_drop
from slimline.verdict.familywise import familywise, non_inferiority_p

TWO, KWH = classification("ab"), regression(unit="kWh")
RESAMPLING = Resampling(999, 0.95, 0)


def flips(lost: int, gained: int, samples: int = 300) -> tuple[Scores, Scores]:
    wrong = np.arange(samples)
    targets = torch.zeros(samples, dtype=torch.long)
    return tuple(
        TWO.scores(torch.eye(2)[torch.from_numpy((hit).astype(int))], targets)
        for hit in (wrong < gained, (wrong >= gained) & (wrong < gained + lost))
    )


def numbers(seed: int, samples: int = 80) -> tuple[Scores, Scores]:
    draw = np.random.default_rng(seed)
    before = draw.gamma(2, 1, samples)
    targets = 10 + draw.normal(size=samples)
    after = before * draw.gamma(20, 1 / 20, samples) + 0.1
    return tuple(KWH.scores(torch.from_numpy(targets + errors), torch.from_numpy(targets)) for errors in (before, after))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=30, deadline=None)
def test_holm_is_that_of_statsmodels(p_values: list[float], confidence: float) -> None:
    found = familywise({str(index): p for index, p in enumerate(p_values)}, confidence)
    shown, adjusted, *_ = multipletests(p_values, alpha=(1 - confidence) / 2, method="holm")
    assert [one.adjusted for one in found.values()] == pytest.approx(list(adjusted))
    assert list(found) == [str(index) for index in range(len(p_values))]
    clear = [abs(p - (1 - confidence) / 2) > 1e-9 for p in adjusted]
    assert [one.is_shown for one, sure in zip(found.values(), clear, strict=True) if sure] == [
        bool(s) for s, c in zip(shown, clear, strict=True) if c
    ]


@pytest.mark.parametrize(("lost", "gained"), [(9, 2), (3, 3), (0, 0), (0, 4)])
@pytest.mark.parametrize("relative", [False, True])
def test_the_p_value_of_a_share_crosses_the_level_where_the_interval_ends(lost: int, gained: int, relative: bool) -> None:
    both = flips(lost, gained)
    drop = metric_drop(TWO, "accuracy", *both, RESAMPLING)
    end = drop.relative_ci[1] if relative else drop.ci[1]
    assert non_inferiority_p(TWO, "accuracy", *both, end, RESAMPLING, relative=relative) == pytest.approx(0.025, rel=1e-3)
    assert non_inferiority_p(TWO, "accuracy", *both, 1.5, RESAMPLING) == 0.0


@pytest.mark.parametrize("metric", KWH.metrics)
@pytest.mark.parametrize("relative", [False, True])
def test_the_p_value_of_a_bootstrap_crosses_the_level_where_the_interval_ends(metric: str, relative: bool) -> None:
    both = numbers(0)
    drop = metric_drop(KWH, metric, *both, RESAMPLING)
    end = drop.relative_ci[1] if relative else drop.ci[1]
    assert non_inferiority_p(KWH, metric, *both, end, RESAMPLING, relative=relative) == pytest.approx(0.025, abs=0.003)


def test_no_resample_that_differs_says_what_its_interval_says() -> None:
    scores = numbers(1)[0]
    drop = metric_drop(KWH, "mean_absolute_error", scores, scores, RESAMPLING)
    ends = [non_inferiority_p(KWH, "mean_absolute_error", scores, scores, end, RESAMPLING) for end in (0.0, drop.ci[1], 100.0)]
    assert ends == [1.0, pytest.approx(0.025, rel=1e-3), 0.0]


def test_hardly_any_family_holds_a_false_promise() -> None:
    """400 families of eight variants whose true drop is the margin; all are judged on the same samples."""
    draw, margin, samples, promised = np.random.default_rng(0), 0.04, 400, 0
    for _ in range(400):
        lost, gained = draw.multinomial(samples, [0.06, 0.02, 0.92], size=8)[:, :2].T
        z = [float(stats.norm.cdf(_score(margin, *pair, samples))) for pair in zip(lost, gained, strict=True)]
        promised += any(one.is_shown for one in familywise(dict(enumerate(z)), 0.95).values())
    assert promised / 400 < 0.045


def _score(margin: float, lost: int, gained: int, samples: int) -> float:
    from slimline.verdict.difference import tango_score

    return tango_score(margin, int(lost), int(gained), samples)
