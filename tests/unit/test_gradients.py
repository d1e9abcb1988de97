"""Gradients of the loss, against those worked out by hand."""

import copy

import torch
from torch import nn

from slimline.data.samples import Samples
from slimline.methods.prune.gradients import batch_gradients, drawn
from tests.method_data import method_data

INPUTS, TARGETS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]]), torch.tensor([0, 1, 1])
SAMPLES = Samples({"input": INPUTS}, TARGETS)
DATA = method_data(nn.Sequential(), INPUTS, TARGETS)


def linear() -> nn.Linear:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0], [0.25, 2.0]]))
        layer.bias.zero_()
    return layer


def mean_gradients(model: nn.Module, samples: Samples = SAMPLES, batch_size: int = 32) -> dict[str, torch.Tensor]:
    total: dict[str, torch.Tensor] = {}
    for gradients, share in batch_gradients(model, DATA, samples, batch_size):
        total = {name: total.get(name, 0.0) + share * gradient for name, gradient in gradients.items()}
    return total


def test_the_mean_is_that_of_all_samples_whatever_the_batches() -> None:
    layer = linear()
    wrong = torch.softmax(INPUTS @ layer.weight.detach().T, 1) - nn.functional.one_hot(TARGETS, 2)  # dL/dlogits of cross entropy
    for size in (1, 2, 32):
        found = mean_gradients(layer, batch_size=size)
        assert torch.allclose(found["weight"], wrong.T @ INPUTS / 3, atol=1e-6)
        assert torch.allclose(found["bias"], wrong.mean(0), atol=1e-6)


def test_batches_come_in_order_with_their_shares() -> None:
    first, second = batch_gradients(linear(), DATA, SAMPLES, 2)
    assert (first[1], second[1]) == (2 / 3, 1 / 3)
    alone = mean_gradients(linear(), SAMPLES.take(slice(2, None)))
    assert torch.allclose(second[0]["weight"], alone["weight"])


def test_the_model_runs_in_evaluation_mode_and_stays_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    net[0].weight.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    one, again = (mean_gradients(net) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert bool(one["0.weight"].any())
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_shared_weight_has_its_gradient_under_both_names_and_an_unused_one_zeros() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.idle = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(torch.relu(self.one(x)))

    found = mean_gradients(Tied(), Samples({"x": INPUTS}, TARGETS))
    assert torch.equal(found["one.weight"], found["two.weight"])
    assert not bool(found["idle.weight"].any())


def test_samples_are_drawn_by_the_seed_and_each_once() -> None:
    many = Samples({"input": torch.arange(20.0).view(20, 1)}, torch.arange(20))
    one, again, other = drawn(many, 8, 1), drawn(many, 8, 1), drawn(many, 8, 2)
    assert torch.equal(one.targets, again.targets)
    assert not torch.equal(one.targets, other.targets)
    assert len(set(one.targets.tolist())) == 8
    assert torch.equal(one.inputs["input"].flatten(), one.targets.float())
    assert len(drawn(many, 100, 0)) == 20
