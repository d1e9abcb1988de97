"""The paired difference: Tango's interval against published values, its own definition and its coverage."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from slimline.errors import ParamsError
from slimline.objectives import Scores
from slimline.objectives.classification import classification
from slimline.objectives.regression import regression
from slimline.verdict.difference import Resampling, accuracy_drop, metric_drop, share_drop, tango_interval

THREE = classification("abc")
KWH = regression(unit="kWh")


@pytest.mark.parametrize(
    ("lost", "gained", "samples", "low", "high"),
    [
        # Fagerland, Lydersen & Laake 2014, Recommended tests and confidence intervals for paired binomial proportions
        (1, 7, 21, -0.517, -0.026),  # airway hyper-responsiveness (Bentur et al. 2009)
        (6, 16, 161, -0.1240, -0.0054),  # complete response (Cavo et al. 2012), also in R's contingencytables
    ],
)
def test_tangos_interval_is_the_published_one(lost: int, gained: int, samples: int, low: float, high: float) -> None:
    assert tango_interval(lost, gained, samples, 0.95) == pytest.approx((low, high), abs=6e-4)


@pytest.mark.parametrize(("lost", "gained", "samples"), [(12, 2, 50), (3, 0, 719), (0, 5, 300), (7, 7, 400)])
def test_the_ends_solve_the_score_equation_with_a_numeric_restricted_estimate(lost: int, gained: int, samples: int) -> None:
    """At an end the score is z, with the gained share found by maximising the likelihood instead of the closed form."""
    for end in tango_interval(lost, gained, samples, 0.95):

        def minus_likelihood(gained_share: float, end: float = end) -> float:
            shares = np.array([gained_share + end, gained_share, 1 - 2 * gained_share - end])
            counts = np.array([lost, gained, samples - lost - gained])
            return -float(np.sum(counts * np.log(np.maximum(shares, 1e-300))))

        found = optimize.minimize_scalar(
            minus_likelihood, bounds=(max(0.0, -end), (1 - end) / 2), method="bounded", options={"xatol": 1e-12}
        )
        variance = samples * (2 * found.x + end - end**2)
        assert abs(lost - gained - samples * end) / np.sqrt(variance) == pytest.approx(stats.norm.ppf(0.975), rel=1e-3)


def test_without_flips_the_interval_has_the_known_width() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    low, high = tango_interval(0, 0, 719, 0.95)
    assert (low, high) == pytest.approx((-z2 / (719 + z2), z2 / (719 + z2)))


@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 20), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=150, deadline=None)
def test_the_interval_holds_the_estimate_and_mirrors(rest: int, lost: int, gained: int, confidence: float) -> None:
    samples = rest + lost + gained
    low, high = tango_interval(lost, gained, samples, confidence)
    assert -1 <= low < high <= 1
    assert low <= (lost - gained) / samples <= high
    assert tango_interval(gained, lost, samples, confidence) == pytest.approx((-high, -low), abs=1e-9)


def test_all_lost_ends_at_one() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango_interval(20, 0, 20, 0.95) == pytest.approx(((20 - z2) / (20 + z2), 1.0))


def test_the_interval_covers_a_true_drop_of_few_flips() -> None:
    """Exact coverage: over all outcomes of 150 samples with 3 % lost and 2 % gained."""
    samples, lost_share, gained_share = 150, 0.03, 0.02
    covered = 0.0
    for lost, gained in itertools.product(range(18), range(15)):
        chance = stats.multinomial.pmf([lost, gained, samples - lost - gained], samples, [lost_share, gained_share, 0.95])
        low, high = tango_interval(lost, gained, samples, 0.95)
        covered += chance * (low <= lost_share - gained_share <= high)
    assert 0.94 < covered < 0.975


def scores(right: np.ndarray, targets: np.ndarray) -> Scores:
    logits = np.eye(3, dtype=np.float32)[np.where(right, targets, (targets + 1) % 3)]
    return THREE.scores(torch.from_numpy(logits), torch.from_numpy(targets))


def pair(lost: int, gained: int, samples: int = 240) -> tuple[Scores, Scores]:
    targets, place = np.arange(samples) % 3, np.arange(samples)
    baseline_right, variant_right = place >= gained, (place < gained) | (place >= gained + lost)
    return scores(baseline_right, targets), scores(variant_right, targets)


def numbers(errors: np.ndarray) -> Scores:
    """Answers that are as far off as this, where the truth is 100 and more."""
    targets = 100 + np.linspace(0, 10, len(errors))
    return KWH.scores(torch.from_numpy(targets + errors), torch.from_numpy(targets))


def test_accuracy_is_judged_by_mcnemar_and_tango() -> None:
    drop = metric_drop(THREE, "accuracy", *pair(lost=9, gained=2), Resampling(500, 0.95, 0))
    assert drop == share_drop("accuracy", 9, 2, 240, 0.95, 238 / 240)
    assert (drop.ci, drop.p_value) == (accuracy_drop(9, 2, 240, 0.95).ci, accuracy_drop(9, 2, 240, 0.95).p_value)
    assert (drop.test, drop.value) == ("mcnemar", 7 / 240)
    assert drop.p_value == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert drop.relative_value == pytest.approx(7 / 238)


def test_another_metric_is_judged_by_paired_bootstrap() -> None:
    both = pair(lost=20, gained=2)
    drop = metric_drop(THREE, "f1", *both, Resampling(2000, 0.95, 0))
    assert drop.test == "bootstrap"
    assert 0 < drop.ci[0] < drop.value < drop.ci[1]
    assert drop.p_value < 0.01
    assert drop.ci == pytest.approx(tango_interval(20, 2, 240, 0.95), abs=0.02)
    assert drop == metric_drop(THREE, "f1", *both, Resampling(2000, 0.95, 0))


def test_equal_models_drop_by_nothing_but_not_for_certain() -> None:
    drop = metric_drop(THREE, "f1", *pair(lost=0, gained=0), Resampling(300, 0.95, 0))
    assert (drop.value, drop.p_value) == (0.0, 1.0)
    assert drop.ci[0] < 0 < drop.ci[1]


def test_an_unknown_metric_is_named_with_the_known_ones() -> None:
    with pytest.raises(ParamsError, match=r"gate\.metric.*'bleu'.*accuracy"):
        metric_drop(THREE, "bleu", *pair(lost=1, gained=1), Resampling(300, 0.95, 0))


def test_a_larger_error_is_a_drop_in_its_own_unit() -> None:
    draw = np.random.default_rng(0)
    errors = draw.gamma(2, 1, 400)
    drop = metric_drop(KWH, "mean_absolute_error", numbers(errors), numbers(errors * 1.1), Resampling(2000, 0.95, 0))
    assert drop.value == pytest.approx(0.1 * errors.mean())
    paired = stats.ttest_rel(errors * 1.1, errors).confidence_interval(0.95)
    assert drop.ci == pytest.approx((paired.low, paired.high), rel=0.04)
    assert drop.relative_value == pytest.approx(0.1)
    assert drop.relative_ci == pytest.approx((0.1, 0.1), abs=1e-6)  # every error grew by a tenth
    assert drop.detectable == pytest.approx((1.96 + 0.8416) * 0.1 * errors.std() / 20, rel=0.1)


def test_a_shift_of_all_samples_alike_is_no_accident() -> None:
    errors = np.ones(50)
    drop = metric_drop(KWH, "mean_absolute_error", numbers(errors), numbers(errors + 1), Resampling(300, 0.95, 0))
    assert drop.value == pytest.approx(1)
    assert drop.p_value < 1e-9


def test_json_holds_the_old_keys_and_the_relative_drop() -> None:
    found = metric_drop(THREE, "accuracy", *pair(lost=9, gained=2), Resampling(500, 0.95, 0)).as_json()
    assert list(found) == ["metric", "value", "ci", "p_value", "test", "relative"]
    assert found["relative"]["ci"] == pytest.approx([end * 240 / 238 for end in found["ci"]])
    assert accuracy_drop(9, 2, 240, 0.95).as_json()["relative"] is None


def test_clusters_make_an_interval_wider() -> None:
    alone, grouped = pair(lost=24, gained=4), [one | {"cluster": np.arange(240) // 8} for one in pair(lost=24, gained=4)]
    exact, drop = (metric_drop(THREE, "accuracy", *both, Resampling(2000, 0.95, 0)) for both in (alone, grouped))
    assert (exact.test, drop.test) == ("mcnemar", "bootstrap")
    assert drop.value == pytest.approx(exact.value)
    assert drop.ci[1] - drop.ci[0] > 1.5 * (exact.ci[1] - exact.ci[0])
