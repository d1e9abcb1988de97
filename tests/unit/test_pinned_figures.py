"""What digits' figures stand on: the numbers that the line gave before objectives, of the same random logits and seeds."""

import numpy as np
import pytest
import torch

from slimline.measure.flips import Flips, flips, predictions_table
from slimline.measure.quality import quality
from slimline.objectives.classification import classification
from slimline.verdict.chance import chance
from slimline.verdict.difference import Resampling, metric_drop

TEN = classification("0123456789")
RESAMPLING = Resampling(1000, 0.95, 0)
DROPS = {
    "accuracy": (0.07510431154381085, (0.05087884797761576, 0.1014385216055889), 5.1539546966008475e-09, 0.03755338856711976),
    "precision": (0.07652357934694576, (0.050759956457813796, 0.1022194111668622), 0.001998001998001998, 0.03609269478552804),
    "recall": (0.07290696903872396, (0.048277935938589964, 0.09774520252508706), 0.001998001998001998, 0.03573660034871401),
    "f1": (0.07531108204555736, (0.05033781816180572, 0.10122301632330051), 0.001998001998001998, 0.03595488959782204),
}
QUALITY = {
    "accuracy": {"value": 0.8233657858136301, "ci": [0.7941585535465925, 0.8484005563282336]},
    "precision": {"value": 0.82376505286013, "ci": [0.7954728740066885, 0.849988286369079]},
    "recall": {"value": 0.8243413645133799, "ci": [0.7943878091164595, 0.8497577733454599]},
    "f1": {"value": 0.8229533535215475, "ci": [0.7932607023363517, 0.848138632573349]},
}


def outputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(20)
    targets = draw.integers(0, 10, 719)
    baseline = draw.normal(size=(719, 10)).astype(np.float32)
    baseline[np.arange(719), targets] += 3
    variant = baseline + draw.normal(size=(719, 10)).astype(np.float32) * np.float32(0.6)
    return torch.from_numpy(baseline), torch.from_numpy(variant), torch.from_numpy(targets)


BASELINE, VARIANT, TARGETS = outputs()
BEFORE, AFTER = TEN.scores(BASELINE, TARGETS), TEN.scores(VARIANT, TARGETS)


@pytest.mark.parametrize("metric", DROPS)
def test_drops(metric: str) -> None:
    drop = metric_drop(TEN, metric, BEFORE, AFTER, RESAMPLING)
    assert (drop.value, drop.ci, drop.p_value, drop.detectable) == DROPS[metric]


def test_quality() -> None:
    found = quality(TEN, AFTER, 1000, 0.95, 0)
    assert {name: found[name] for name in QUALITY} == QUALITY


def test_chance() -> None:
    constant = TEN.scores(TEN.constant(TARGETS, BASELINE), TARGETS)
    found = chance(TEN, "f1", BEFORE, constant, RESAMPLING)
    assert (found.value, found.answer, found.constant, found.knows) == (0.8982644355671049, "2", 0.022688039457459928, True)
    assert found.gain == (0.8537768914781219, 0.8965556363550421)


def test_flips_and_groups() -> None:
    assert flips(BEFORE, AFTER) == Flips(71, 17)
    assert TEN.groups(AFTER)["3"] == {"recall": 0.8513513513513513}
    assert TEN.groups(BEFORE)["3"] == {"recall": 0.9324324324324325}


def test_confidences() -> None:
    table = predictions_table(TEN, TARGETS, BASELINE, VARIANT)
    assert table["variant_confidence"].head(4).tolist() == [0.36524, 0.223025, 0.639687, 0.882769]
    assert table["variant_confidence"].sum() == 409.813258
