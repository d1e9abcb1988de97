"""Taylor scores against those worked out by hand, and what they see that magnitudes do not."""

import pytest
import torch
from torch import nn

from slimline.data.samples import Samples
from slimline.errors import StageError
from slimline.methods.prune.taylor import taylor, taylor_scores
from slimline.params import TaylorParams
from slimline.training.fit import predict
from tests.method_data import method_data

INPUTS = torch.tensor([[1.0, 0.0, 2.0], [-1.0, 0.0, 1.0], [2.0, 0.0, -1.0], [0.5, 0.0, 0.5]])
TARGETS = torch.tensor([0, 1, 0, 1])
BATCH = {"input": INPUTS}
DATA = method_data(nn.Sequential(), BATCH, TARGETS)


def config(**settings: object) -> TaylorParams:
    return TaylorParams(source="teacher", method="taylor", **settings)


@pytest.fixture
def layer() -> nn.Linear:
    """Two classes of three inputs; the second input is always zero, and its weights are the largest."""
    found = nn.Linear(3, 2)
    with torch.no_grad():
        found.weight.copy_(torch.tensor([[1.0, 9.0, 0.2], [-0.4, -8.0, 0.1]]))
        found.bias.zero_()
    return found


def test_the_score_is_the_mean_over_batches_of_the_weight_times_its_gradient(layer: nn.Linear) -> None:
    wrong = torch.softmax(INPUTS @ layer.weight.detach().T, 1) - nn.functional.one_hot(TARGETS, 2)
    by_sample = (wrong[:, :, None] * INPUTS[:, None, :] * layer.weight.detach()).abs()
    one = taylor_scores(layer, DATA, Samples(BATCH, TARGETS), batch_size=1)[""]
    expected = by_sample.mean(0).double()
    assert torch.allclose(one[:, [0, 2]], expected[:, [0, 2]], atol=1e-6)
    pairs = taylor_scores(layer, DATA, Samples(BATCH, TARGETS), batch_size=4)[""]
    assert bool((pairs <= one + 1e-6).all()), "within a batch gradients cancel out"
    assert float(pairs.sum()) < 0.8 * float(one.sum())


def test_large_weights_that_the_loss_does_not_see_go_first(layer: nn.Linear) -> None:
    pruned = taylor(layer, config(fraction=0.34), data=DATA).model
    assert pruned.weight[:, 1].tolist() == [0, 0]
    assert int((pruned.weight == 0).sum()) == 2
    assert torch.equal(predict(pruned, BATCH), predict(layer, BATCH))


def test_weights_that_are_zero_already_count_and_floors_hold(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight[0, 0] = 0
    pruned = taylor(layer, config(fraction=0.5), data=DATA).model
    assert int((pruned.weight == 0).sum()) == 3
    assert pruned.weight[0, 0].item() == 0
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 20))
    with torch.no_grad():
        net[0].weight.mul_(1e-6)
    with pytest.raises(StageError, match=r"layer '0' would lose all its 6 weights at fraction 0\.2"):
        taylor(net, config(fraction=0.2), data=DATA)
    kept = taylor(net, config(fraction=0.2, floor=0.5), data=DATA).model
    assert int((kept[0].weight != 0).sum()) == 3


def test_samples_are_drawn_by_the_seed(layer: nn.Linear) -> None:
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2))
    few = config(fraction=0.5, samples=4)
    masks = [taylor(net, few, data=method_data(net, inputs, torch.arange(64) % 2, seed=seed)).model[0].weight == 0 for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
