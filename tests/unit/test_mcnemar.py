"""The exact paired test against statsmodels, and the power computed from it against simulation."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from slimline.verdict.mcnemar import mcnemar_p
from slimline.verdict.power import detectable_drop, mcnemar_power


@pytest.mark.parametrize(("lost", "gained"), [(0, 1), (6, 16), (16, 6), (12, 2), (5, 5), (40, 25)])
def test_the_p_value_is_that_of_statsmodels(lost: int, gained: int) -> None:
    assert mcnemar_p(lost, gained) == pytest.approx(min(1.0, mcnemar([[59, lost], [gained, 80]], exact=True).pvalue))


def test_published_value() -> None:
    """Cavo et al. 2012 in Fagerland et al. 2013, BMC Medical Research Methodology 13:91."""
    assert mcnemar_p(6, 16) == pytest.approx(0.052479, abs=1e-6)


def test_no_flips_are_no_evidence() -> None:
    assert mcnemar_p(0, 0) == 1.0


def test_the_power_is_what_simulation_finds() -> None:
    samples, drop, flipped = 400, 0.03, 0.05
    generator = np.random.default_rng(0)
    draws = generator.multinomial(samples, [(flipped + drop) / 2, (flipped - drop) / 2, 1 - flipped], size=3000)
    shown = np.mean([mcnemar_p(lost, gained) <= 0.05 and lost > gained for lost, gained, _ in draws.tolist()])
    assert mcnemar_power(samples, drop, flipped, 0.95) == pytest.approx(shown, abs=0.03)


def test_the_detectable_drop_has_the_power_that_was_asked() -> None:
    drop = detectable_drop(719, 8, 5, 0.95)
    assert mcnemar_power(719, drop, 13 / 719, 0.95) == pytest.approx(0.8, abs=1e-3)
    assert 13 / 719 > drop > 0


def test_more_samples_show_smaller_drops_and_more_flips_hide_larger_ones() -> None:
    assert detectable_drop(2000, 20, 20, 0.95) < detectable_drop(500, 5, 5, 0.95)
    assert detectable_drop(719, 30, 30, 0.95) > detectable_drop(719, 3, 3, 0.95)


def test_a_handful_of_samples_shows_nothing() -> None:
    assert detectable_drop(5, 0, 0, 0.95) == 1.0
