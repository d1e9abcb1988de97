"""Timing: clocks that tell work from waiting, turns in both orders, and a median with its binomial interval."""

import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from slimline.measure.latency import SAMPLE_MS, calls_per_sample, interleave, pair_ratio, percentiles, speed_ratio
from slimline.measure.timing import Sample, time_calls

BATCH = Path("batch.npy")


def work(size: int) -> float:
    return float(sum(range(size)))


class Busy:
    """Does a fixed amount of arithmetic a call, in this process."""

    def __init__(self, name: str, size: int, log: list[str]) -> None:
        self.name, self.size, self.log = name, size, log

    def time(self, batch: Path, calls: int) -> Sample:
        assert batch == BATCH
        self.log.append(self.name)
        return time_calls(lambda: work(self.size), calls)


def test_waiting_costs_wall_time_and_no_cpu_time() -> None:
    sample = time_calls(lambda: time.sleep(0.01), 3)
    assert min(sample.wall_ms) >= 10
    assert sample.cpu_ms < 2


def test_work_costs_both() -> None:
    sample = time_calls(lambda: work(100_000), 5)
    assert 0.2 < sample.cpu_ms <= 1.1 * max(sample.wall_ms)
    assert len(sample.wall_ms) == 5


def test_small_work_is_called_until_a_sample_lasts() -> None:
    few, many = (calls_per_sample(Busy("x", size, []), BATCH) for size in (400_000, 100))
    assert few == 1
    assert many > 100
    sample = time_calls(lambda: work(100), many)
    assert sum(sample.wall_ms) > SAMPLE_MS / 3


def test_turns_go_forth_and_back_and_tell_twice_the_work() -> None:
    log: list[str] = []
    subjects = {name: Busy(name, size, log) for name, size in (("double", 40_000), ("single", 20_000), ("twin", 20_000))}
    samples = interleave(subjects, BATCH, 30)
    turns = log[-90:]
    assert turns[:6] == ["double", "single", "twin", "twin", "single", "double"]
    assert {len(found) for found in samples.values()} == {30}
    faster = speed_ratio(samples["double"], samples["single"], 0.95)
    assert faster["value"] == pytest.approx(2.0, rel=0.2)
    assert faster["ci"][0] <= faster["value"] <= faster["ci"][1]
    assert speed_ratio(samples["twin"], samples["single"], 0.95)["value"] == pytest.approx(1.0, rel=0.15)


def test_the_interval_is_the_binomial_one_of_order_statistics() -> None:
    ratios = np.random.default_rng(0).lognormal(0.5, 0.2, 40)
    found = pair_ratio(ratios.tolist(), np.ones(40).tolist(), 0.95)
    rank = int(stats.binom.ppf(0.025, 40, 0.5))
    ordered = np.sort(ratios)
    assert found["value"] == np.median(ratios)
    assert found["ci"] == [ordered[rank - 1], ordered[40 - rank]]


def test_the_interval_covers_the_true_median() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        low, high = pair_ratio(generator.lognormal(0, 0.3, 40).tolist(), [1.0] * 40, 0.95)["ci"]
        hits += low <= 1 <= high
    assert 0.93 < hits / 400 < 0.995


def test_few_pairs_give_their_whole_range() -> None:
    assert pair_ratio([2.0, 4.0, 3.0], [1.0, 1.0, 1.0], 0.95)["ci"] == [2.0, 4.0]


def test_one_stalled_pair_does_not_move_the_ratio() -> None:
    baseline = [2.0] * 40
    assert pair_ratio(baseline, [1.0] * 39 + [500.0], 0.95)["value"] == 2.0


def test_percentiles_are_of_single_calls() -> None:
    found = percentiles([Sample(1.0, tuple(range(1, 51))), Sample(1.0, tuple(range(51, 101)))])
    assert found == {"p50": 50.5, "p95": pytest.approx(95.05), "p99": pytest.approx(99.01)}
