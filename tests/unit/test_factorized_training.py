"""Factorized before training: thin layers start as the best approximation of the untrained ones, learn, and stand beside their controls."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.errors import InputError, StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.factorize.factorized_training import AFTER, BEFORE, DENSE, chosen, factorized, factorized_training, spectral_pair
from slimline.params import FactorizedTrainingParams
from slimline.training.fit import predict
from tests.method_data import method_data

EXAMPLE = {"x": torch.zeros(1, 1, 4, 4)}


class Net(nn.Module):
    """Two convolutions with batch norm, a hidden layer that runs twice under two names, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.hidden, self.head = nn.Linear(128, 128), nn.Linear(128, 3)
        self.again = self.hidden

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 4, 4] -> [N, 3]."""
        x = self.body(self.stem(x)).flatten(1)
        return self.head(torch.relu(self.again(torch.relu(self.hidden(x)))))


def untrained() -> nn.Module:
    torch.manual_seed(3)
    return Net()


def bright_rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a bright row; the label is which."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (count,), generator=generator)
    inputs = torch.randn(count, 1, 4, 4, generator=generator)
    inputs[torch.arange(count), 0, targets] += 1.5
    return inputs, targets


def data(**more: object) -> MethodData:
    held_out = method_data(Net(), *bright_rows(96, 1)).train
    return method_data(Net(), *bright_rows(192, 0), validation=held_out, initial=untrained, seed=2, **more)


def config(**settings: object) -> FactorizedTrainingParams:
    settings = {"rank": 8} | settings if "parameter_ratio" not in settings else settings
    fast = {"source": "teacher", "method": "factorized_training", "epochs": 4, "batch_size": 32, "learning_rate": 0.01}
    return FactorizedTrainingParams.model_validate(fast | settings)


@pytest.fixture(scope="module")
def made() -> Edited:
    torch.set_num_threads(1)
    return factorized_training(untrained(), config(), data=data())


def rows(made: Edited) -> dict[str, dict[str, object]]:
    return {row["net"]: row for row in made.details["controls"]}


def test_it_learns_in_fewer_parameters_and_the_dense_control_is_plain_training(made: Edited) -> None:
    thin, dense, cut = (rows(made)[label] for label in (BEFORE, DENSE, AFTER))
    assert thin["parameters"] == cut["parameters"] == sum(value.numel() for value in made.model.parameters())
    assert thin["parameters"] < 0.3 * dense["parameters"]
    assert thin["validation metric"] > 0.75
    given = data()
    alone, history = given.fitted(untrained(), config())
    best = history.epochs[history.best_epoch - 1]
    assert (dense["best epoch"], dense["validation loss"]) == (history.best_epoch, pytest.approx(best.validation_loss, abs=1e-5))
    assert dense["validation metric"] == pytest.approx(best.metric, abs=1e-5)
    assert [len(line) for line in made.curves[0].series.values()] == [4, 4]
    assert sum(value.numel() for value in alone.parameters()) == dense["parameters"]


def test_what_it_says_of_the_result_is_true_of_it(made: Edited) -> None:
    inputs, targets = bright_rows(96, 1)
    outputs = predict(made.model, {"x": inputs})
    assert rows(made)[BEFORE]["validation loss"] == pytest.approx(functional.cross_entropy(outputs, targets).item(), abs=1e-5)
    best = made.history.epochs[made.history.best_epoch - 1]
    assert best.metric == pytest.approx(rows(made)[BEFORE]["validation metric"], abs=1e-5)
    assert made.details["factorized_layers"] == 2
    assert made.model.again is made.model.hidden
    assert isinstance(made.model.stem[0], nn.Conv2d), "1 input channel is fewer than min_channels"


def test_pairs_start_as_the_best_approximation_of_the_untrained_weight() -> None:
    layer = untrained().body[0]
    pair = spectral_pair(layer, 8)
    assert [tuple(thin.weight.shape) for thin in pair] == [(8, 32, 3, 3), (32, 8, 1, 1)]
    assert (pair[0].stride, pair[0].padding, pair[1].stride, pair[1].padding) == ((2, 2), (1, 1), (1, 1), (0, 0))
    inner, outer = (thin.weight.detach().flatten(1) for thin in pair)
    weight = layer.weight.detach().flatten(1)
    values = torch.linalg.svdvals(weight)
    assert (weight - outer @ inner).norm().item() == pytest.approx(values[8:].norm().item(), rel=1e-4)
    assert inner.norm().item() == pytest.approx(outer.norm().item(), rel=1e-4), "the singular values are shared evenly"
    x = torch.randn(3, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectral_pair(layer, 32)(x), layer(x), rtol=1e-4, atol=1e-4)


def test_ranks_leave_at_most_the_share_and_are_multiples_of_sixteen() -> None:
    ranks = chosen(untrained(), config(parameter_ratio=0.6), EXAMPLE)
    assert ranks == {"body.0": 16, "hidden": 32}, "of at most 17 and 38"
    assert chosen(untrained(), config(parameter_ratio=0.2), EXAMPLE) == {"body.0": 5, "hidden": 12}
    assert chosen(untrained(), config(keep=("bo*",)), EXAMPLE) == {"hidden": 8}
    assert set(chosen(untrained(), config(min_channels=3, rank=2), EXAMPLE)) == {"body.0", "hidden", "head"}


def test_layers_whose_weight_their_parent_reads_stay_whole() -> None:
    encoder = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
    model = nn.Sequential(encoder, nn.Linear(32, 64))
    assert chosen(model, config(min_channels=1), {"input": torch.zeros(1, 5, 32)}) == {"1": 8}


def test_frobenius_decay_makes_the_products_smaller() -> None:
    def norm(strength: float) -> float:
        model = factorized_training(untrained(), config(frobenius_decay=strength, epochs=2), data=data()).model
        return sum((pair[1].weight.flatten(1) @ pair[0].weight.flatten(1)).square().sum().item() for pair in (model.body[0], model.hidden))

    assert norm(0.1) < 0.7 * norm(0.0)


def test_the_given_weights_do_not_matter_the_untrained_ones_do(made: Edited) -> None:
    torch.manual_seed(77)
    other = factorized_training(Net(), config(), data=data()).model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in made.model.state_dict().items())
    start = factorized(untrained(), {"hidden": 8})
    assert torch.equal(start.head.weight, untrained().head.weight)


NAMELESS: Callable[[], MethodData] = lambda: replace(data(), initial=None)  # noqa: E731


@pytest.mark.parametrize(
    ("settings", "given", "error", "words"),
    [
        ({"rank": 500}, data, StageError, "none of 4 layers gets smaller"),
        ({"keep": ("tail",)}, data, InputError, "keep: 'tail' matches no layer; there are: stem.0, body.0, hidden, head"),
        ({}, NAMELESS, StageError, "needs the source's untrained weights"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, object], given: Callable[[], MethodData], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        factorized_training(untrained(), config(**settings), data=given())
