"""Every bundled objective keeps the Protocol's promises."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimline.data.batch import Tensors, take
from slimline.measure.bootstrap import metric_draws, resampled_figures
from slimline.measure.flips import flips, predictions_table
from slimline.measure.quality import quality
from slimline.objectives import Objective, figures, joined_scores, taken_scores, worse_by
from slimline.objectives.causal_lm import causal_lm
from slimline.objectives.classification import classification
from slimline.objectives.described import described
from slimline.objectives.embedding import embedding
from slimline.objectives.multilabel import multilabel
from slimline.objectives.readings import reading_of
from slimline.objectives.regression import regression
from slimline.objectives.segmentation import segmentation
from slimline.verdict.chance import chance
from slimline.verdict.difference import Resampling, metric_drop
from slimline.verdict.family import upper_bounds

SAMPLES = 40
RESAMPLING = Resampling(199, 0.95, 0)


@dataclass(frozen=True)
class Case:
    """An objective with outputs that know something, others that know less, and targets."""

    objective: Objective
    good: Tensor
    poor: Tensor
    targets: Tensors


def case(name: str) -> Case:
    draw = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(SAMPLES, *shape, generator=draw)

    def of(objective: Objective, clean: Tensor, targets: Tensors) -> Case:
        return Case(objective, clean + 0.3 * noise(*clean.shape[1:]), clean + 1.2 * noise(*clean.shape[1:]), targets)

    classes = torch.arange(SAMPLES) % 3
    pixels = torch.randint(0, 3, (SAMPLES, 4, 5), generator=draw)
    numbers, vectors = noise(), noise(8)
    labels = torch.randint(0, 2, (SAMPLES, 4), generator=draw).float()
    if name == "classes":
        return of(classification("abc"), torch.eye(3)[classes] * 2, classes)
    if name == "one logit":
        return of(classification("ab", [1, 2]), torch.where(classes > 0, 1.0, -1.0)[:, None], (classes > 0).long())
    if name == "labels":
        return of(multilabel("abcd", [1, 2, 3, 4]), labels * 2 - 1, labels)
    if name == "number":
        return of(regression(mean=5, scale=2, unit="kWh"), numbers[:, None], numbers * 2 + 5)
    if name == "numbers":
        return of(
            regression(["x", "y"], mean=[1, 2], scale=[3, 4], kind="huber"),
            noise(2) * 0 + vectors[:, :2],
            vectors[:, :2] * torch.tensor([3, 4]) + torch.tensor([1, 2]),
        )
    if name == "pixels":
        clean = torch.eye(3)[pixels].movedim(-1, 1) * 2
        return of(segmentation("abc", ignore_index=255), clean, torch.where(noise(4, 5) > 2, 255, pixels))
    if name == "tokens":
        tokens = torch.randint(0, 7, (SAMPLES, 5), generator=draw)
        sizes = {"bytes": torch.full((SAMPLES,), 11), "document": torch.arange(SAMPLES) // 2}
        return of(causal_lm(), torch.eye(7)[tokens] * 3, {"tokens": tokens, **sizes})
    return of(embedding(), vectors, vectors)


def noted(one: Case, outputs: Tensor) -> dict[str, NDArray[Any]]:
    """The scores of outputs beside the good ones, as `evaluate` has them beside the baseline's."""
    return one.objective.scores(outputs, one.targets) | one.objective.beside(outputs, one.good, one.targets)


NAMES = ("tokens", "classes", "one logit", "labels", "number", "numbers", "pixels", "vectors")


@pytest.fixture(scope="module", params=NAMES)
def one(request: pytest.FixtureRequest) -> Case:
    return case(request.param)


def test_it_has_all_parts(one: Case) -> None:
    assert isinstance(one.objective, Objective)
    assert one.objective.metrics
    assert one.objective == type(one.objective)(**vars(one.objective))


def test_the_loss_is_a_scalar_that_falls_with_its_gradient(one: Case) -> None:
    outputs = one.poor.clone().requires_grad_()
    loss = one.objective.loss(outputs, one.targets)
    assert loss.shape == ()
    (slope,) = torch.autograd.grad(loss, outputs)
    assert one.objective.loss(one.poor - 1e-2 * slope / slope.norm(), one.targets) < loss
    assert one.objective.loss(one.good, one.targets) < loss


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_guidance_is_zero_for_equal_outputs_alone(one: Case, temperature: float) -> None:
    student = one.poor.clone().requires_grad_()
    assert one.objective.guidance(one.good, one.good.clone(), temperature).item() == pytest.approx(0, abs=1e-6)
    apart = one.objective.guidance(student, one.good, temperature)
    assert apart.shape == ()
    assert apart.item() > 1e-3
    (slope,) = torch.autograd.grad(apart, student)
    assert one.objective.guidance(one.poor - 1e-2 * slope / slope.norm(), one.good, temperature) < apart


def test_scores_are_one_row_a_sample_whichever_way_they_are_batched(one: Case) -> None:
    whole = one.objective.scores(one.good, one.targets)
    parts = [one.objective.scores(one.good[rows], take(one.targets, rows)) for rows in (slice(0, 7), slice(7, SAMPLES))]
    joined = joined_scores(parts)
    assert joined.keys() == whole.keys()
    for name, column in whole.items():
        assert len(column) == SAMPLES
        np.testing.assert_allclose(joined[name], column, rtol=1e-6, atol=1e-12)
        assert joined[name].dtype == column.dtype
    assert (whole["error"] >= 0).all()


def test_better_outputs_have_better_figures(one: Case) -> None:
    good, poor = (figures(one.objective, noted(one, outputs)) for outputs in (one.good, one.poor))
    for name, metric in one.objective.metrics.items():
        assert worse_by(metric, good[name], poor[name]) > 0


def test_resamples_at_once_are_resamples_one_by_one(one: Case) -> None:
    scores = one.objective.scores(one.poor, one.targets)
    draw = np.random.default_rng(0)
    rows = draw.integers(0, SAMPLES, (20, SAMPLES))
    counts = np.stack([np.bincount(chosen, minlength=SAMPLES) for chosen in rows]).astype(float)
    for name, metric in one.objective.metrics.items():
        if name in ("rank_correlation", "recall_at_10"):  # a sample that is drawn twice is no neighbour of its own
            continue
        expected = [metric.figure(taken_scores(scores, chosen)) for chosen in rows]
        np.testing.assert_allclose(resampled_figures(metric, scores, counts), expected, rtol=1e-9)


def test_figures_lie_in_their_intervals_and_drops_in_theirs(one: Case) -> None:
    good, poor = (noted(one, outputs) for outputs in (one.good, one.poor))
    for name, facts in quality(one.objective, poor, 199, 0.95, 0).items():
        assert facts["ci"][0] <= facts["value"] <= facts["ci"][1], name
    for name in one.objective.metrics:
        drop = metric_drop(one.objective, name, good, poor, RESAMPLING)
        assert 0 < drop.value < drop.ci[1], name
        assert drop.ci[0] < drop.value, name
        assert (drop.relative_ci is None) == (one.objective.metrics[name].figure(good) == 0)
        back = metric_drop(one.objective, name, poor, good, RESAMPLING)
        assert back.value == pytest.approx(-drop.value)
        bounds = upper_bounds(one.objective, name, good, poor, RESAMPLING)
        assert bounds["1"]["value"] == drop.ci[1], name
        assert bounds["64"]["value"] >= drop.ci[1], name


def test_equal_models_drop_by_nothing_but_not_for_certain(one: Case) -> None:
    scores = one.objective.scores(one.good, one.targets)
    for name in one.objective.metrics:
        drop = metric_drop(one.objective, name, scores, scores, RESAMPLING)
        assert (drop.value, drop.p_value) == (0.0, 1.0)
        assert drop.ci[0] < 0 < drop.ci[1]


def test_clusters_are_drawn_whole(one: Case) -> None:
    """Every sample four times over, as clusters: nothing is known that was not known from one copy."""
    good, poor = (one.objective.scores(outputs, one.targets) for outputs in (one.good, one.poor))
    for name, metric in one.objective.metrics.items():
        if name in ("rank_correlation", "recall_at_10"):
            continue
        once = [good | {"cluster": np.arange(SAMPLES)}, poor | {"cluster": np.arange(SAMPLES)}]
        again = [taken_scores(scores, np.repeat(np.arange(SAMPLES), 4)) for scores in once]
        first, second = (metric_drop(one.objective, name, *pair, RESAMPLING) for pair in (once, again))
        assert second.ci == pytest.approx(first.ci, rel=1e-6, abs=1e-9), name
        assert metric_draws({name: metric}, again, resamples=50, seed=0)[0][name].std() == pytest.approx(
            metric_draws({name: metric}, once, resamples=50, seed=0)[0][name].std(), rel=1e-6
        )


def test_answers_are_shown_and_tabled(one: Case) -> None:
    answers = one.objective.answers(one.good)
    assert len(answers) == SAMPLES
    assert 0 < len(one.objective.shown(answers[0])) < 80
    table = predictions_table(one.objective, one.targets, one.good, one.poor)
    wanted = {"index", "baseline", "variant", "baseline_error", "variant_error"} | ({"target"} if one.objective.needs_targets else set())
    assert wanted <= set(table.columns)
    assert one.objective.shown(table["variant"].iloc[0]) == one.objective.shown(one.objective.answers(one.poor)[0])
    assert table.to_parquet() is not None


def test_a_release_says_without_torch_what_the_objective_says(one: Case) -> None:
    reading = reading_of(described(one.objective))
    assert reading is not None
    outputs = one.good.numpy()
    assert np.array_equal(reading.answers(outputs), one.objective.answers(one.good))
    assert reading.shown(reading.answers(outputs)[0]) == one.objective.shown(one.objective.answers(one.good)[0])
    noted = one.objective.scores(one.good, one.targets if one.objective.needs_targets else one.good)
    if "confidence" in noted:
        assert np.allclose(reading.confidence(outputs), noted["confidence"])


def test_outputs_that_did_not_move_are_at_no_distance(one: Case) -> None:
    assert one.objective.distance(one.good, one.good.clone()) == 0
    assert one.objective.distance(one.good, one.poor) > 0.01


def test_what_ignores_its_inputs_is_beaten_by_what_knows(one: Case) -> None:
    constant = one.objective.constant(one.targets, one.good)
    if constant is None:
        assert not one.objective.needs_targets
        return
    assert constant.shape == one.good.shape
    assert (constant == constant[:1]).all()
    least = one.objective.scores(constant, one.targets)
    metric = next(iter(one.objective.metrics))
    assert chance(one.objective, metric, one.objective.scores(one.good, one.targets), least, RESAMPLING).is_beaten
    assert not chance(one.objective, metric, least, least, RESAMPLING).is_beaten
    shifted = constant + 0.2 * torch.randn(constant[:1].shape, generator=torch.Generator().manual_seed(0))
    assert one.objective.loss(constant, one.targets) <= one.objective.loss(shifted, one.targets) or one.objective.weights is not None


def test_groups_are_named_figures(one: Case) -> None:
    scores = one.objective.scores(one.good, one.targets)
    for figures_of in one.objective.groups(scores).values():
        assert all(isinstance(value, float) for value in figures_of.values())
    assert flips(scores, scores) is None or flips(scores, scores).lost == 0
