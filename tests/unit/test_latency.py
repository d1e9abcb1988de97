"""Timing: clocks that tell work from waiting, turns that are warm before they count, and intervals over launches."""

import time

import numpy as np
import pytest

from slimline.measure.latency import (
    SPARE_LAUNCHES,
    cold_percentiles,
    cold_speed_ratio,
    launches_needed,
    median_ratio,
    noise_floor,
    percentiles,
    speed_ratio,
)
from slimline.measure.timing import SAMPLE_MS, Sample, Turn, take_turn, time_calls


def work(size: int) -> float:
    return float(sum(range(size)))


def turn(cpu_ms: float, wall_ms: float | None = None, first_ms: float = 9.0) -> Turn:
    walls = (wall_ms or cpu_ms,)
    return Turn(Sample(first_ms, (first_ms,)), (Sample(cpu_ms, walls), Sample(cpu_ms, walls)), True, 10)


def launches(*cpu_ms: float) -> list[list[Turn]]:
    """A turn a launch."""
    return [[turn(value)] for value in cpu_ms]


def test_waiting_costs_wall_time_and_no_cpu_time() -> None:
    sample = time_calls(lambda: time.sleep(0.01), 3)
    assert min(sample.wall_ms) >= 10
    assert sample.cpu_ms < 2


def test_work_costs_both() -> None:
    sample = time_calls(lambda: work(100_000), 5)
    assert 0.2 < sample.cpu_ms <= 1.1 * max(sample.wall_ms)
    assert len(sample.wall_ms) == 5


def test_small_work_is_called_until_a_sample_lasts() -> None:
    found = take_turn(lambda: work(2000), 3)
    assert len(found.samples) == 3
    assert all(sum(sample.wall_ms) > SAMPLE_MS / 3 for sample in found.samples)
    assert found.calls > sum(len(sample.wall_ms) for sample in found.samples) > 300


def test_a_slow_call_is_a_sample_by_itself() -> None:
    found = take_turn(lambda: time.sleep(0.03), 2)
    assert [len(sample.wall_ms) for sample in found.samples] == [1, 1]


class Warming:
    """Takes four times as long at first, and falls to 5 ms a call, as a model whose weights come into the caches."""

    def __init__(self, fade: float) -> None:
        self.fade, self.excess = fade, 0.015

    def __call__(self) -> None:
        until = time.process_time() + 0.005 + self.excess
        self.excess *= self.fade
        while time.process_time() < until:
            pass


@pytest.mark.parametrize("fade", [0.0, 0.3, 0.7])
def test_what_is_timed_is_warm_and_the_first_call_is_told(fade: float) -> None:
    found = take_turn(Warming(fade), 3)
    assert found.cpu_ms == pytest.approx(5, rel=0.15)
    assert found.first.cpu_ms == pytest.approx(20, rel=0.15)


def test_what_never_settles_is_taken_and_said() -> None:
    found = take_turn(Warming(1.1), 2)
    assert len(found.samples) == 2
    assert not found.steady


def test_the_launches_that_a_confidence_needs() -> None:
    assert [launches_needed(confidence) for confidence in (0.75, 0.9, 0.95, 0.99, 0.999)] == [5, 7, 8, 10, 13]
    for confidence in np.linspace(0.5, 0.9999, 50):
        assert 2 / 2 ** (launches_needed(confidence) - SPARE_LAUNCHES) <= 1 - confidence + 1e-12


@pytest.mark.slow
def test_the_interval_holds_the_median_where_the_machine_drifts_from_session_to_session() -> None:
    """Launches of a session that share a part of what moves them: independent ones' number does not do, the number taken does."""
    generator = np.random.default_rng(2)
    needed, trials, held = launches_needed(0.95), 2000, {0: 0, SPARE_LAUNCHES: 0}
    for _ in range(trials):
        ratios = generator.normal(1, 0.012) * generator.lognormal(0, 0.03, needed)
        for spare in held:
            low, high = median_ratio(ratios[: needed - SPARE_LAUNCHES + spare].tolist(), 0.95)["ci"]
            held[spare] += low <= 1 <= high
    assert held[0] / trials < 0.945
    assert held[SPARE_LAUNCHES] / trials > 0.96


def test_the_ratio_is_the_median_over_launches_of_the_median_over_rounds() -> None:
    baseline = [[turn(8.0), turn(80.0), turn(8.4)] for _ in range(6)]
    variant = [[turn(4.0), turn(4.0), turn(4.2)] for _ in range(6)]
    assert speed_ratio(baseline, variant, 0.95)["value"] == 2.0
    found = speed_ratio(launches(1, 2, 3, 4, 5, 6), launches(1, 1, 1, 1, 1, 1), 0.95)
    assert (found["value"], found["ci"], found["launches"]) == (3.5, [1.0, 6.0], [1, 2, 3, 4, 5, 6])
    assert found["wall"]["value"] == 3.5


def test_a_cold_ratio_is_of_first_calls() -> None:
    baseline, variant = [[turn(8.0, first_ms=30.0)]] * 6, [[turn(2.0, first_ms=20.0)]] * 6
    assert speed_ratio(baseline, variant, 0.95)["value"] == 4.0
    assert cold_speed_ratio(baseline, variant, 0.95)["value"] == 1.5
    assert cold_percentiles([*baseline[:5], [turn(8.0, first_ms=90.0)]]) == {"p50": 30.0, "max": 90.0}


def test_the_interval_holds_the_median_where_launches_differ_more_than_samples() -> None:
    """What 40 pairs of one launch could not: the launch's own 5 % stay in all of its samples."""
    generator = np.random.default_rng(1)
    hits, narrow_hits, trials = 0, 0, 400
    for _ in range(trials):
        own = generator.lognormal(0, 0.05, 6)
        samples = own[:, None] * generator.lognormal(0, 0.01, (6, 7))
        low, high = median_ratio(np.median(samples, axis=1).tolist(), 0.95)["ci"]
        hits += low <= 1 <= high
        low, high = median_ratio((own[0] * generator.lognormal(0, 0.01, 40)).tolist(), 0.95)["ci"]
        narrow_hits += low <= 1 <= high
    assert hits / trials > 0.93
    assert narrow_hits / trials < 0.3


def test_few_ratios_give_their_whole_range() -> None:
    assert median_ratio([2.0, 4.0, 3.0], 0.95)["ci"] == [2.0, 4.0]


def test_the_noise_floor_is_how_far_launches_differ() -> None:
    still = noise_floor([2.0] * 6, 0.95)
    assert still == {"value": 0.0, "ratio": 1.0, "ci": [1.0, 1.0]}
    loud = noise_floor([2.0, 2.2, 2.0, 2.2, 2.0, 2.2], 0.95)
    assert loud["value"] == pytest.approx(0.1)
    assert loud["ci"] == pytest.approx([2 / 2.2, 1.1])


def test_percentiles_are_of_single_calls() -> None:
    first = Sample(1.0, (7.0,))
    one, two = (Turn(first, (Sample(1.0, tuple(map(float, walls))),), True, 51) for walls in (range(1, 51), range(51, 101)))
    assert percentiles([[one], [two]]) == {"p50": 50.5, "p95": pytest.approx(95.05), "p99": pytest.approx(99.01)}
