"""Cross-layer equalisation computes the same in other weights, and takes away what uneven channels cost int8."""

import copy

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.structure import replay, structure_edits
from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.methods.quantize.dataflow import dataflow
from slimline.methods.quantize.equalize import equalize, pairs
from slimline.methods.quantize.static import static
from slimline.params import StaticParams
from tests.unbalanced import CALIBRATION, EXAMPLE, HELD_OUT, DepthwiseNet, data_for, logit_sqnr_db, unbalanced_net

PLAIN = StaticParams(source="teacher", method="static")
EQUALIZED = PLAIN.model_copy(update={"equalize": True})


class Branching(nn.Module):
    """Pairs through pooling, flattening, leaky ReLU, groups and a mean; none where two read, or where a factor cannot pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pooled = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 3, groups=2)
        self.shared, self.left, self.right = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.curved, self.flat = nn.Conv2d(6, 4, 1), nn.Linear(4 * 16, 7)
        self.rows, self.head = nn.Linear(7, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 3]."""
        x = self.pooled(nn.functional.max_pool2d(torch.relu(self.first(x)), 2))
        x = self.shared(torch.tanh(x))
        x = self.left(x) + self.right(x)
        x = nn.functional.leaky_relu(self.curved(nn.functional.pad(x, (1, 1, 1, 1))), 0.1)
        return self.head(torch.relu(self.rows(self.flat(x.flatten(1)))))


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).eval()(**HELD_OUT)


def ratio(model: nn.Module, layer: str) -> float:
    """How many times larger the largest channel's weights are than the smallest's."""
    largest = model.get_submodule(layer).weight.detach().flatten(1).abs().amax(dim=1)
    return float(largest.max() / largest.min())


def test_the_model_computes_the_same_and_its_channels_are_alike() -> None:
    net = unbalanced_net()
    before = copy.deepcopy(net.state_dict())
    equal = equalize(net, example=EXAMPLE, calibration=CALIBRATION)
    expected = outputs(net)
    torch.testing.assert_close(outputs(equal.model), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert [(pair.first, pair.second) for pair in equal.pairs][-2:] == [
        ("blocks.1.0.0", "blocks.1.1.0"),
        ("blocks.1.1.0", "blocks.1.2.0"),
    ]
    assert len(equal.replaced) == 5
    folded = equalize(net, example=EXAMPLE, calibration=CALIBRATION, strength=0.0).model
    assert ratio(folded, "blocks.0.0.0") > 20
    assert ratio(equal.model, "blocks.0.0.0") < 3
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_int8_on_uneven_channels_is_saved_by_it() -> None:
    net = unbalanced_net()
    statistics = collect_statistics(net, named(net, CALIBRATION), 32)
    plain, equalized = (static(net, config, statistics=statistics, data=data_for()) for config in (PLAIN, EQUALIZED))
    assert logit_sqnr_db(net, equalized) > logit_sqnr_db(net, plain) + 8
    assert "ReLU6 became ReLU" in equalized.notes[-1]
    assert "blocks.0.0.0 and blocks.0.1.0" in equalized.notes[1]


def test_every_kind_of_pair_is_found_and_scaling_it_changes_nothing() -> None:
    torch.manual_seed(1)
    model = Branching().eval()
    found = {(pair.first, pair.second): pair.repeats for pair in pairs(dataflow(model, EXAMPLE))}
    assert found == {("first", "pooled"): 1, ("curved", "flat"): 16, ("flat", "rows"): 1, ("rows", "head"): 1}


def test_strength_zero_is_folding_alone() -> None:
    net = unbalanced_net()
    plain = equalize(net, example=EXAMPLE, calibration=CALIBRATION, strength=0.0)
    assert (plain.pairs, plain.replaced) == ((), ())
    assert isinstance(plain.model.get_submodule("stem.2"), nn.ReLU6)
    torch.testing.assert_close(outputs(plain.model), outputs(net), rtol=1e-4, atol=1e-5)


def test_a_relu6_that_clips_stays_and_so_do_the_layers_around_it() -> None:
    net = unbalanced_net(1.0)
    with torch.no_grad():
        net.get_submodule("blocks.0.0.1").bias.add_(5.0)
    equal = equalize(net, example=EXAMPLE, calibration=CALIBRATION)
    assert isinstance(equal.model.get_submodule("blocks.0.0.2"), nn.ReLU6)
    assert "blocks.0.0.2" not in equal.replaced
    assert ("blocks.0.0.0", "blocks.0.1.0") not in {(pair.first, pair.second) for pair in equal.pairs}
    torch.testing.assert_close(outputs(equal.model), outputs(net), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("config", [EQUALIZED, PLAIN.model_copy(update={"bias_correction": True})])
def test_what_it_makes_is_stored_as_structure_edits(config: StaticParams) -> None:
    net = unbalanced_net()
    made = static(net, config, statistics=collect_statistics(net, named(net, CALIBRATION), 32), data=data_for())
    again = replay(DepthwiseNet(), structure_edits(DepthwiseNet(), made.model))
    again.load_state_dict(made.model.state_dict(), strict=True)
    assert torch.equal(outputs(again), outputs(made.model))
