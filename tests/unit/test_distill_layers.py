"""Which layers are compared, where those of student and teacher are not of one kind, and how."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.calibration.contract_nets import seeded, small_data, trained
from slimline.errors import InputError
from slimline.methods import get_method
from slimline.methods.distill.features import alike
from slimline.methods.distill.pairing import deepest_pair, points
from slimline.methods.distill.refused import require_possible
from slimline.methods.distill.relational import embedded
from slimline.params import config_class

DATA = small_data("pictures", trains=True)


def config_of(method: str, own: str = "", theirs: str = "") -> Any:
    names = {"student_layers": [own], "teacher_layers": [theirs]} if own else {}
    return config_class("distill", method).model_validate({"source": "teacher", "method": method, "epochs": 1, "batch_size": 16, **names})


class Pooled(nn.Module):
    """Feature maps that are averaged outside of any module."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.spare = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU()), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 4, 4] -> [N, 3]."""
        return self.head(self.body(x).mean((2, 3)))


class TwoOutputs(nn.Module):
    """Two heads on one body, one of which is flattened behind its layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.ReLU())
        self.kind, self.size = nn.Linear(width, 3), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[N, 4] -> [N] and [N, 3]."""
        features = self.body(x)
        return {"size": self.size(features).flatten(), "kind": self.kind(features)}


@pytest.mark.parametrize(
    ("method", "own", "theirs", "words"),
    [
        ("hints", "hidden", "block", "'hidden' of the student gives vectors, 'block' of the teacher feature maps; name two of one kind"),
        ("hidden_states", "block", "hidden", "'block' of the student gives feature maps, 'hidden' of the teacher vectors"),
        ("attention_transfer", "hidden", "hidden", "'hidden' of the student gives vectors.*name two of one kind, with places"),
    ],
)
def test_named_layers_of_unlike_kinds_are_refused_in_a_line(method: str, own: str, theirs: str, words: str) -> None:
    teacher, student, config = trained("pictures"), seeded("pictures", 8), config_of(method, own, theirs)
    with pytest.raises(InputError, match=words):
        require_possible(config, student, teacher, DATA)
    with pytest.raises(InputError, match=words):
        get_method("distill", method)(student, teacher, config, data=DATA)


@pytest.mark.parametrize("method", ["hints", "relational"])
def test_a_named_layer_that_never_runs_is_refused(method: str) -> None:
    with pytest.raises(InputError, match=r"student_layers: 'spare' gives no features"):
        require_possible(config_of(method, "spare", "hidden"), Pooled(), trained("pictures"), DATA)


def test_relations_are_compared_of_layers_of_any_kind() -> None:
    teacher = trained("pictures")
    unnamed = get_method("distill", "relational")(Pooled(), teacher, config_of("relational"), data=DATA)
    assert unnamed.listings[0].rows == (("body", "hidden", 8, 64),)
    named = get_method("distill", "relational")(seeded("pictures", 8), teacher, config_of("relational", "block", "hidden"), data=DATA)
    assert named.listings[0].rows == (("block", "hidden", 8, 64),)


def test_filled_up_places_are_left_out_of_the_mean() -> None:
    states, there = torch.randn(2, 3, 5), torch.tensor([[True, True, False], [True, True, True]])
    assert torch.allclose(embedded(states, there), torch.stack([states[0, :2].mean(0), states[1].mean(0)]))
    assert torch.allclose(embedded(states, torch.empty(0)), states.mean(1))


def test_no_layer_that_gives_an_output_is_the_last_one_before_it() -> None:
    student, teacher, example = TwoOutputs(6), TwoOutputs(9), {"x": torch.zeros(2, 4)}
    assert list(points(student, example)) == ["body"]
    assert deepest_pair(student, teacher, config_of("relational"), example) == [("body", "body")]


def test_volumes_are_averaged_to_the_smaller() -> None:
    large = torch.arange(64.0).view(1, 4, 4, 4, 1)
    own, theirs = alike(torch.ones(1, 2, 2, 2, 1), large, torch.empty(0))
    assert own.shape == theirs.shape
    assert theirs[0, 0, 0, 0] == large[0, :2, :2, :2].mean()
