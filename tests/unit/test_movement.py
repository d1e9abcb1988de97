"""Movement: the share that is gone at each point, the scores by hand, and weights that training moves towards zero go first."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slimline.methods.prune.movement import Moves, movement, share_gone
from slimline.params import MovementParams
from tests.method_data import method_data

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(128, 6, generator=GENERATOR)
INPUTS[:, 3:] *= 0.02  # three inputs that tell nothing
TARGETS = (INPUTS[:, 0] + INPUTS[:, 1] - INPUTS[:, 2] > 0).long()
DATA = method_data(nn.Sequential(), INPUTS, TARGETS)
TRAINING = {"epochs": 12, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.0}


def config(**settings: object) -> MovementParams:
    return MovementParams(source="teacher", method="movement", **{"fraction": 0.5, "training": TRAINING, **settings})


def net() -> nn.Module:
    """A first layer whose weights on the inputs that tell something are small, and the others large."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:, :3] *= 0.1
        model[0].weight[:, 3:] += model[0].weight[:, 3:].sign()
    return model


def test_the_share_is_a_cubic_between_warm_up_and_cool_down() -> None:
    some = config(fraction=0.8, warm_up=0.2, cool_down=0.4)
    assert [share_gone(at, some) for at in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)] == pytest.approx([0, 0, 0.8 * (1 - 0.125), 0.8, 0.8, 0.8])


def test_a_score_falls_by_the_weight_times_its_gradient_masked_out_or_not() -> None:
    moves = Moves(torch.tensor([[2.0, -1.0, 0.0, 3.0]]))
    moves.mask[0, 1] = False
    weight = torch.tensor([[2.0, -1.0, 0.0, 3.0]], requires_grad=True)
    for _ in range(2):
        (moves(weight) * torch.tensor([[1.0, 10.0, 5.0, -2.0]])).sum().backward()
    assert moves.scores.tolist() == [[-4.0, 20.0, -torch.inf, 12.0]]
    assert weight.grad.tolist() == [[2.0, 0.0, 0.0, -4.0]]  # what is masked does not train
    moves.eval()
    (moves(weight) * 7).sum().backward()
    assert moves.scores[0, 0] == -4.0


def test_small_weights_that_grow_stay_and_large_ones_without_use_go() -> None:
    model = net()
    small = model[0].weight.detach().abs()
    assert bool(small[:, :3].max() < small[:, 3:].min())
    made = movement(model, config(scope="local"), data=DATA)
    kept = (made.model[0].weight != 0).sum(0)
    assert int(kept.sum()) == 24
    assert int(kept[:3].sum()) >= 18
    assert made.history.best_epoch == len(made.history.epochs) == 12
    assert made.history.epochs[-1].metric > 0.9
    assert sorted(made.model.state_dict()) == sorted(model.state_dict())


def test_zeros_stay_zero_and_the_share_is_exact() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[:, 0] = 0
    made = movement(model, config(fraction=0.75, floor=0.1, training={**TRAINING, "epochs": 3}), data=DATA).model
    gone = [made[0].weight == 0, made[2].weight == 0]
    assert sum(int(one.sum()) for one in gone) == 48
    assert bool(gone[0][:, 0].all())


def test_a_shared_weight_is_left_as_it_is() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))

    made = movement(Tied(), config(training={**TRAINING, "epochs": 2}), data=method_data(Tied(), INPUTS, TARGETS)).model
    assert made.one.weight is made.two.weight
    assert int((made.one.weight == 0).sum()) == 0
    assert int((made.head.weight == 0).sum()) == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warm_up": 0.5, "cool_down": 0.5}, "leave no training"),
        ({"training": {"epochs": 0}}, "moves no weight"),
        ({"scope": "local", "floor": 0.1}, "floor is for the other scopes"),
        ({"fraction": 0.95, "floor": 0.1}, "leaves less than the fraction"),
    ],
)
def test_options_that_do_not_go_together_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**settings)


def test_weights_go_also_where_the_cool_down_is_almost_everything() -> None:
    short = {"epochs": 1, "batch_size": 43, "learning_rate": 0.02, "weight_decay": 0.0}
    made = movement(net(), config(training=short, warm_up=0.0, cool_down=0.95), data=DATA).model
    zeros = sum(int((layer.weight == 0).sum()) for layer in (made[0], made[2]))
    assert zeros == (6 * 8 + 8 * 2) // 2
