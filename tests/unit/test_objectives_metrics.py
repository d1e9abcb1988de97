"""The figures of every objective are those of scikit-learn, scipy and torch on random data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from slimline.errors import WorkloadError
from slimline.objectives import figures
from slimline.objectives.classification import classification
from slimline.objectives.embedding import embedding
from slimline.objectives.multilabel import multilabel
from slimline.objectives.regression import regression
from slimline.objectives.segmentation import segmentation
from slimline.objectives.single import single
from tests.classification_metrics import classification_metrics

SEEDS = st.integers(0, 10_000)
SIZES = st.integers(2, 40)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, SIZES, st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_classification(seed: int, samples: int, classes: int) -> None:
    objective, logits = classification([str(index) for index in range(classes)]), noise(seed, samples, classes)
    targets = torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(seed))
    found = figures(objective, objective.scores(logits, targets))
    expected = classification_metrics(logits.numpy(), targets.numpy())
    assert {name: found[name] for name in expected} == expected
    assert next(iter(found)) == "accuracy"
    loss = reference.log_loss(targets, logits.double().softmax(1), labels=np.arange(classes))
    assert found["log_loss"] == pytest.approx(loss)
    assert found["log_loss"] == pytest.approx(objective.loss(logits, targets).item(), rel=1e-5)
    if classes == 2 and 0 < targets.sum() < samples:
        assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(targets, logits[:, 1] - logits[:, 0]))


@given(SEEDS, SIZES)
@settings(max_examples=30, deadline=None)
def test_one_logit_is_that_of_the_second_class(seed: int, samples: int) -> None:
    objective, logit = classification(["no", "yes"]), noise(seed, samples).round(decimals=0)  # with ties
    targets = (noise(seed + 1, samples) > 0).long()
    found = figures(objective, objective.scores(logit, targets))
    assert found == figures(objective, objective.scores(logit[:, None], targets))
    assert objective.loss(logit, targets).item() == pytest.approx(
        functional.binary_cross_entropy_with_logits(logit, targets.float()).item(), rel=1e-5
    )
    assert objective.answers(logit).tolist() == (logit > 0).long().tolist()
    if 0 < targets.sum() < samples:
        assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(targets, logit))


def test_class_weights_are_those_of_cross_entropy() -> None:
    logits, targets = noise(0, 20, 3), torch.arange(20) % 3
    expected = functional.cross_entropy(logits, targets, torch.tensor([1.0, 2.0, 5.0]))
    assert classification("abc", [1, 2, 5]).loss(logits, targets) == expected


@given(SEEDS, SIZES, st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_multilabel(seed: int, samples: int, labels: int) -> None:
    objective, logits = multilabel([f"l{index}" for index in range(labels)]), noise(seed, samples, labels)
    targets = (noise(seed + 1, samples, labels) > 0.8).float()
    found = figures(objective, objective.scores(logits, targets))
    true, answer = targets.numpy().astype(int), (logits > 0).numpy().astype(int)
    if labels > 1:  # scikit-learn takes one column for classes
        assert found["f1"] == pytest.approx(reference.f1_score(true, answer, average="micro", zero_division=0.0))
        assert found["f1_macro"] == pytest.approx(reference.f1_score(true, answer, average="macro", zero_division=0.0))
    assert found["hamming_accuracy"] == pytest.approx(1 - reference.hamming_loss(true, answer))
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(true, answer))
    assert objective.loss(logits, targets).item() == pytest.approx(
        functional.binary_cross_entropy_with_logits(logits, targets).item(), rel=1e-5
    )


def test_the_guidance_of_labels_is_the_divergence_of_two_classes() -> None:
    student, teacher = noise(0, 30, 1), noise(1, 30, 1)
    two = classification("ab").guidance(student, teacher, 3.0)
    assert multilabel("a").guidance(student, teacher, 3.0).item() == pytest.approx(two.item(), rel=1e-5)


@given(SEEDS, SIZES, st.integers(1, 3), st.floats(-5, 5), st.floats(0.1, 9))
@settings(max_examples=60, deadline=None)
def test_regression(seed: int, samples: int, numbers: int, mean: float, scale: float) -> None:
    objective = regression([f"n{index}" for index in range(numbers)], mean=mean, scale=scale, unit="m")
    outputs, targets = noise(seed, samples, numbers), noise(seed + 1, samples, numbers) * scale + mean
    found = figures(objective, objective.scores(outputs, targets))
    answers, true = outputs.double().numpy() * scale + mean, targets.double().numpy()
    answers = outputs.double().numpy() * scale + mean
    assert found["mean_absolute_error"] == pytest.approx(reference.mean_absolute_error(true, answers))
    assert found["root_mean_squared_error"] == pytest.approx(reference.root_mean_squared_error(true, answers))
    assert found["r2"] == pytest.approx(reference.r2_score(true, answers), rel=1e-6, abs=1e-9)
    squared = reference.mean_squared_error(true, answers) / scale**2
    assert objective.loss(outputs, targets).item() == pytest.approx(squared, rel=1e-3)


def test_numbers_in_one_axis_are_numbers_in_two() -> None:
    outputs, targets = noise(0, 30), noise(1, 30)
    objective = regression(unit="kWh")
    assert figures(objective, objective.scores(outputs, targets)) == figures(objective, objective.scores(outputs[:, None], targets))
    assert objective.loss(outputs[:, None], targets) == functional.mse_loss(outputs, targets)
    assert regression(kind="absolute").loss(outputs, targets) == functional.l1_loss(outputs, targets)
    assert objective.shown(objective.answers(torch.tensor([1.5]))[0]) == "1.5 kWh"


@given(SEEDS, st.integers(1, 8), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_segmentation(seed: int, samples: int, classes: int) -> None:
    objective = segmentation([f"c{index}" for index in range(classes)], ignore_index=255)
    logits = noise(seed, samples, classes, 3, 4)
    targets = torch.randint(0, classes, (samples, 3, 4), generator=torch.Generator().manual_seed(seed))
    targets[noise(seed + 1, samples, 3, 4) > 1] = 255
    found, kept = figures(objective, objective.scores(logits, targets)), targets != 255
    if not kept.any():
        return
    true, answer = targets[kept].numpy(), logits.argmax(1)[kept].numpy()
    assert found["mean_iou"] == pytest.approx(reference.jaccard_score(true, answer, average="macro", zero_division=0.0))
    assert found["pixel_accuracy"] == pytest.approx(reference.accuracy_score(true, answer))
    expected = functional.cross_entropy(logits, targets, ignore_index=255)
    assert objective.loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)
    line = objective.scores(logits.flatten(2), targets.flatten(1))
    assert figures(objective, line) == found


def test_a_picture_in_which_no_pixel_counts_is_no_error() -> None:
    objective, logits = segmentation("ab", ignore_index=9), noise(0, 2, 2, 3, 3).requires_grad_()
    targets = torch.full((2, 3, 3), 9)
    loss = objective.loss(logits, targets)
    assert loss.item() == 0
    torch.autograd.backward(loss)
    assert objective.scores(logits, targets)["error"].tolist() == [0, 0]
    assert objective.shown(np.array([[0, 0], [0, 1]])) == "a 75 %, b 25 %"


def test_a_picture_is_answered_alike_where_nearly_all_of_its_pixels_are() -> None:
    objective = segmentation("ab")
    before = torch.stack([torch.zeros(3, 10, 10), torch.ones(3, 10, 10)], dim=1)
    after = before.clone()
    after[1, 0, 0, :2], after[2, 0, 0, :3] = 2, 2
    assert objective.same_answers(before, after).tolist() == [True, True, False]


@given(SEEDS, st.integers(3, 60), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_embedding(seed: int, samples: int, numbers: int) -> None:
    objective, target = embedding(), noise(seed, samples, numbers)
    output = target + noise(seed + 1, samples, numbers)
    found = figures(objective, objective.scores(output, target))
    assert found["cosine"] == pytest.approx(functional.cosine_similarity(output, target).mean().item(), abs=1e-5)
    assert objective.loss(output, target).item() == pytest.approx(1 - found["cosine"], abs=1e-5)
    pairs = np.triu_indices(samples, 1)
    similar = [reference.pairwise.cosine_similarity(values.double().numpy())[pairs] for values in (output, target)]
    assert found["rank_correlation"] == pytest.approx(stats.spearmanr(*similar).statistic, abs=1e-9)
    near = min(10, samples - 1)
    neighbours = [NearestNeighbors(n_neighbors=near, metric="cosine").fit(values.double()).kneighbors()[1] for values in (output, target)]
    kept = np.mean([len(set(one) & set(other)) / near for one, other in zip(*neighbours, strict=True)])
    assert found["recall_at_10"] == pytest.approx(kept)


def test_equal_vectors_are_alike_in_every_way() -> None:
    objective, target = embedding(), noise(0, 30, 4)
    assert set(figures(objective, objective.scores(target * 3, target)).values()) == {1.0}
    assert set(figures(objective, objective.scores(target[:1], target[:1])).values()) == {1.0}


def test_several_tensors_need_an_objective_of_their_own() -> None:
    assert single({"logits": torch.ones(2)}).tolist() == [1, 1]
    with pytest.raises(WorkloadError, match="boxes, scores"):
        single({"boxes": torch.ones(2), "scores": torch.ones(2)})


@pytest.mark.parametrize("labels", [2, 40])
def test_guidance_counts_as_much_as_the_loss_however_many_labels_there_are(labels: int) -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(64, 1, generator=draw).expand(64, labels) for _ in range(2))
    one, many = (multilabel([f"l{number}" for number in range(count)]) for count in (1, labels))
    right = (teacher > 0).float()
    for part in (
        lambda of, rows: of.loss(student[:, :rows], right[:, :rows]),
        lambda of, rows: of.guidance(student[:, :rows], teacher[:, :rows], 2.0),
    ):
        assert part(many, labels).item() == pytest.approx(part(one, 1).item(), rel=1e-5)
