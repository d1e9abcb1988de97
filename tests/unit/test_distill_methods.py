"""What the distillation methods compare, by their papers' formulas, and what is made up to be taught on."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from slimline.data.samples import Samples
from slimline.errors import Impossible, ParamsError
from slimline.methods.distill.attention_transfer import attention
from slimline.methods.distill.dkd import decoupled
from slimline.methods.distill.features import alike, channels_last
from slimline.methods.distill.pairing import deep_pairs
from slimline.methods.distill.relational import angles, distances
from slimline.methods.distill.soft_targets import soft_targets
from slimline.methods.distill.synthetic import made_up
from slimline.objectives.classification import classification
from slimline.params import HintsParams, Params, SoftTargetsParams
from slimline.params.student import Synthetic
from slimline.training.data import TrainingData
from tests.small_nets import seeded

SIDES = classification(("below", "above"))


def test_the_two_parts_of_dkd_make_up_the_whole_divergence() -> None:
    """Equation 7 of the paper: KL = TCKD + (1 - p of the right class) * NCKD."""
    student, teacher = np.random.default_rng(0).normal(size=(2, 1, 5)) * 2
    right, temperature = np.array([3]), 2.0
    p = softmax(teacher / temperature, axis=1)
    whole = float((p * (log_softmax(teacher / temperature, axis=1) - log_softmax(student / temperature, axis=1))).sum())
    target, others = (float(part) / temperature**2 for part in decoupled(*map(torch.from_numpy, (student, teacher, right)), temperature))
    assert whole == pytest.approx(target + (1 - p[0, 3]) * others)


def test_relations_are_those_of_the_paper() -> None:
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.cdist(rows, rows)
    assert torch.allclose(distances(rows), found / found[found > 0].mean(), atol=1e-6)
    first, middle, last = rows[0], rows[1], rows[2]
    cosine = torch.nn.functional.cosine_similarity(first - middle, last - middle, dim=0)
    assert float(angles(rows)[1, 0, 2]) == pytest.approx(float(cosine))


def test_relations_do_not_change_with_scale_and_place() -> None:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    moved = 3 * rows + 7
    assert torch.allclose(distances(rows), distances(moved), atol=1e-4)
    assert torch.allclose(angles(rows), angles(moved), atol=1e-4)


def test_attention_maps_are_of_length_one_and_know_no_width() -> None:
    maps = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    found = attention(channels_last(maps, nn.Conv2d(1, 6, 1)))
    expected = maps.square().mean(1).flatten(1)
    assert torch.allclose(found, expected / expected.norm(dim=1, keepdim=True))
    assert torch.allclose(found, attention(channels_last(maps.repeat(1, 3, 1, 1), nn.Conv2d(1, 18, 1))))


def test_larger_maps_are_averaged_to_the_smaller() -> None:
    small, large = torch.ones(2, 2, 2, 3), torch.arange(32.0).view(1, 4, 4, 2).repeat(2, 1, 1, 1)
    own, theirs = alike(small, large, torch.empty(0))
    assert torch.equal(own, small)
    assert torch.equal(theirs[0, 0, 0], large[0, :2, :2].mean((0, 1)))


def test_layers_of_nets_that_are_not_alike_are_paired_by_depth_and_kind() -> None:
    teacher, student = seeded("blocks", 32).eval(), seeded("plain", 8).eval()
    config = HintsParams(source="teacher", method="hints", pairs=2)
    pairs = deep_pairs(student, teacher, config, {"x": torch.zeros(2, 1, 4, 4)})
    assert [name for name, _ in pairs] == ["first"]  # flat features have none of their kind in the teacher
    assert pairs[0][1] in dict(teacher.named_modules())


class Rows(nn.Module):
    """Numbers and two categories."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(4, 3), nn.BatchNorm1d(2), nn.Linear(8, 2)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """[N, 2], [N, 2] -> [N, 2]."""
        return self.head(torch.cat([self.norm(numbers), self.embed(categories).flatten(1)], dim=1))


def rows(**more: Any) -> TrainingData:
    draw = torch.Generator().manual_seed(0)
    samples = Samples(
        {
            "numbers": torch.randn(40, 2, generator=draw) * torch.tensor([1.0, 50.0]),
            "categories": torch.randint(4, (40, 2), generator=draw),
        },
        torch.randint(2, (40,), generator=draw),
    )
    return TrainingData(train=samples, validation=samples.take(slice(0, 8)), objective=SIDES, metric="accuracy", **more)


@pytest.mark.parametrize("kind", ["mixup", "neighbours", "noise"])
def test_made_up_rows_lie_among_the_training_rows_and_categories_stay_categories(kind: str) -> None:
    data = rows()
    made = made_up(data, Rows(), Synthetic(kind=kind, samples=300))
    again = made_up(data, Rows(), Synthetic(kind=kind, samples=300))
    assert all(torch.equal(value, again[name]) for name, value in made.items())
    assert made["categories"].dtype == torch.int64
    assert set(made["categories"].unique().tolist()) <= {0, 1, 2, 3}
    known = data.train.inputs["numbers"]
    if kind != "noise":
        assert bool((made["numbers"] >= known.amin(0)).all() & (made["numbers"] <= known.amax(0)).all())
    apart = (torch.cdist(made["numbers"] / known.std(0), known / known.std(0)).amin(1)).mean()
    assert 0 < float(apart) < 0.5


def test_one_category_a_sample_has_neighbours_too() -> None:
    base = rows()
    given = Samples({"numbers": base.train.inputs["numbers"], "category": base.train.inputs["categories"][:, 0]}, base.train.targets)
    data = TrainingData(train=given, validation=given, objective=SIDES, metric="accuracy")
    made = made_up(data, Rows(), Synthetic(kind="neighbours", samples=20))
    assert made["category"].shape == (20,)
    assert set(made["category"].tolist()) <= {0, 1, 2, 3}


def test_the_nearest_neighbour_counts_of_a_sample_that_is_not_among_those_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty pairs on a line, half of all samples looked at: with `near: 1` half of what is made lies within a pair."""
    monkeypatch.setattr("slimline.methods.distill.synthetic.FAR", 20)
    numbers = (100.0 * torch.arange(20)).repeat_interleave(2) + torch.tensor([0.0, 1.0]).repeat(20)
    given = Samples({"input": numbers[:, None]}, torch.zeros(40, dtype=torch.long))
    data = TrainingData(train=given, validation=given, objective=SIDES, metric="accuracy")
    made = made_up(data, nn.Linear(1, 2), Synthetic(kind="neighbours", samples=400, near=1))["input"]
    assert float((made % 100 <= 1).float().mean()) > 0.4


def test_what_cannot_be_made_up_says_what_can() -> None:
    with pytest.raises(Impossible, match=r"'categories' holds categories; take neighbours"):
        made_up(rows(), Rows(), Synthetic(kind="inverted"))


def test_inverted_samples_look_to_the_batch_norms_like_what_they_have_seen() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    samples = Samples({"input": torch.randn(64, 2) * 2 + 5}, torch.zeros(64, dtype=torch.long))
    for _ in range(60):
        teacher.train()(samples.inputs["input"])
    data = TrainingData(train=samples, validation=samples, objective=SIDES, metric="accuracy")
    few, many = (made_up(data, teacher, Synthetic(kind="inverted", samples=64, iterations=count)) for count in (1, 150))
    norm = teacher[1]

    def away(inputs: Tensor) -> float:
        return float((teacher[0](inputs).mean(0) - norm.running_mean).norm().detach())

    assert away(many["input"]) < 0.2 * away(few["input"])


def test_a_student_that_sees_made_up_samples_alone_reads_no_training_sample() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    base = rows()
    given = Samples({"input": base.train.inputs["numbers"]}, base.train.targets)

    class Unread:
        def __len__(self) -> int:
            return 40

        def batches(self, _order: object) -> Any:
            raise AssertionError("a training sample was read")

    data = TrainingData(train=Unread(), validation=given, objective=SIDES, metric="accuracy")
    asked = {"kind": "inverted", "samples": 32, "iterations": 2, "alone": True}
    config = SoftTargetsParams(source="teacher", method="soft_targets", alpha=0, epochs=2, batch_size=16, synthetic=asked)
    student = nn.Linear(2, 2)
    before = copy.deepcopy(student.state_dict())
    made = soft_targets(student, teacher, config, data=data)
    assert len(made.history.epochs) == 2
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


BASE: dict[str, Any] = {
    "workload": "digits",
    "prune": {"half": {"source": "teacher", "method": "magnitude", "fraction": 0.5}},
    "quantize": {"int8": {"source": "teacher", "method": "static"}, "half-precision": {"source": "teacher", "method": "half"}},
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]},
}
SOFT = {"method": "soft_targets"}


def parsed(distill: dict[str, Any], **more: Any) -> Params:
    return Params.parse({**BASE, "distill": distill, **more})


def test_any_variant_may_learn_where_its_source_is_itself_and_stays_what_it_is() -> None:
    params = parsed(
        {
            "a": {**SOFT, "source": "int8", "student": {"variant": "int8"}},
            "b": {**SOFT, "source": "a", "student": {"variant": "a"}},
        }
    )
    assert params.lineage("b") == ("b", "a", "int8", "teacher")
    with pytest.raises(ParamsError, match=r"prune \(magnitude\) may not follow quantize \('a'\)"):
        parsed(
            {"a": {**SOFT, "source": "int8", "student": {"variant": "int8"}}},
            prune={"late": {"source": "a", "method": "magnitude", "fraction": 0.5}},
        )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**SOFT, "source": "teacher", "student": {"variant": "half"}}, r"distill\.a\.source: write source: half, the student itself"),
        ({**SOFT, "source": "teacher", "student": {"variant": "nosuch"}}, r"no variant 'nosuch' that could learn.*known: half, int8"),
        ({**SOFT, "source": "int8"}, r"distill \(soft_targets\) may not follow quantize"),
        ({"method": "mutual", "source": "half", "student": {"variant": "half"}}, "mutual starts its peers from other random weights"),
        ({**SOFT, "source": "teacher", "synthetic": {"kind": "inverted", "alone": True}}, "have no labels; give alpha: 0"),
        (
            {**SOFT, "source": "teacher", "synthetic": {"kind": "mixup", "sample": 9}},
            "did you mean 'samples'",
        ),
        ({**SOFT, "source": "teacher", "controls": ["steps", "steps"]}, "controls names one twice"),
    ],
)
def test_what_a_distilled_entry_says_wrong_is_told(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        parsed({"a": entry})
