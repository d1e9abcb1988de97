"""A plan written into the model: it computes what the simulation does, in the operations and with the ranges that compilers match."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.methods.compile.qdq import SCALE, WEIGHT, StaticInt8, explicit
from slimline.methods.quantize.plan import Plan, layer_plan, make_plan, weighted_layers
from slimline.methods.quantize.simulate import simulate, sqnr_db

EXAMPLE = {"x": torch.zeros(2, 1, 6, 6)}


class Net(nn.Module):
    """One input channel, a batch norm, a depthwise and a padded convolution, a Linear layer with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, groups=16, padding="same", padding_mode="reflect")
        self.hidden, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
        self.same = self.hidden

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 4]."""
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.deep(x)).mean(dim=(2, 3))
        return self.head(torch.relu(self.same(torch.relu(self.hidden(x)))))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(5)
    net = Net()
    net(torch.randn(64, 1, 6, 6))
    return net.eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(6))


KINDS: dict[str, dict[str, Any]] = {
    "static": {"precision": "int8", "activations": True, "input_range": (-2.0, 3.1)},
    "per-tensor": {"precision": "int8", "activations": True, "input_range": (-2.0, 3.1), "granularity": "per-tensor"},
    "dynamic": {"precision": "int8", "activations": True},
    "int8 weights": {"precision": "int8", "activations": False},
    "int4 weights": {"precision": "int4", "activations": False, "granularity": "per-group", "group_size": 1},
}


def plan_of(model: nn.Module, **entry: Any) -> Plan:
    return make_plan("static", {name: layer_plan(layer, **entry) for name, layer in weighted_layers(model).items()})


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("least_channels", [1, 2])
def test_it_computes_what_the_simulation_does(name: str, least_channels: int, model: nn.Module, inputs: Tensor) -> None:
    plan, before = plan_of(model, **KINDS[name]), copy.deepcopy(model.state_dict())
    written = explicit(model, plan, example=EXAMPLE, least_channels=least_channels)
    with torch.no_grad():
        expected, found = simulate(model, plan)(inputs), written(inputs)
    assert sqnr_db(expected, found) > 60
    assert not written.training
    assert written.get_submodule("hidden") is written.get_submodule("same")
    assert not isinstance(written.get_submodule("hidden"), nn.Linear)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert {str(value.dtype) for key, value in written.state_dict().items() if key.endswith(WEIGHT)} == {"torch.int8"}


def test_ranges_in_the_exported_graph_are_the_plans(model: nn.Module) -> None:
    plan = plan_of(model, **KINDS["static"])
    graph = torch.export.export(explicit(model, plan, example=EXAMPLE), (), kwargs=EXAMPLE).graph
    quantize = [node for node in graph.nodes if "quantized_decomposed.quantize_per_tensor" in str(node.target)]
    assert len(quantize) == 5, "hidden runs twice"
    assert {node.args[1:] for node in quantize} == {((3.1 + 2.0) / 255, round(2.0 / (5.1 / 255)), 0, 255, torch.uint8)}
    assert not [node for node in graph.nodes if "batch_norm" in str(node.target)]


def test_missing_channels_are_zeros(model: nn.Module) -> None:
    stem = explicit(model, plan_of(model, **KINDS["static"]), example=EXAMPLE, least_channels=4).get_submodule("stem")
    assert isinstance(stem, StaticInt8)
    weight = stem.get_buffer(WEIGHT)
    assert tuple(weight.shape) == (16, 4, 3, 3)
    assert not weight[:, 1:].any()
    assert weight[:, 0].any()
    assert tuple(stem.get_buffer(SCALE).shape) == (16,)


def test_a_sixteen_bit_layer_computes_in_its_type_between_float32_neighbours(model: nn.Module, inputs: Tensor) -> None:
    plan = plan_of(model, precision="float32", activations=False)
    plan["layers"]["head"] = layer_plan(weighted_layers(model)["head"], "bfloat16", activations=True)
    written = explicit(model, plan, example=EXAMPLE)
    with torch.no_grad():
        found, expected = written(inputs), model(inputs)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.to(torch.bfloat16).float())
    assert 30 < sqnr_db(expected, found) < 70


class Asking(nn.Module):
    """A net that asks its layers for their sizes, and for the type and shape of their weights, as transformers' ViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 4]."""
        x = self.stem(x.to(self.stem.weight.dtype)) * (self.stem.kernel_size[0] / 3)
        x = x.mean((2, 3)).view(-1, self.head.in_features).to(self.head.weight.dtype)
        assert self.stem.bias is not None
        return self.head(x)[:, : self.head.weight.shape[0]] + 0.0 * self.stem.bias[0]


@pytest.mark.parametrize("name", [*KINDS, "bfloat16"])
def test_a_layer_still_answers_what_its_net_asks(name: str, inputs: Tensor) -> None:
    torch.manual_seed(0)
    asking = Asking().eval()
    kinds = KINDS | {"bfloat16": {"precision": "bfloat16", "activations": True}}
    plan = plan_of(asking, **kinds[name])
    written = explicit(asking, plan, example=EXAMPLE, least_channels=4)
    with torch.no_grad():
        expected = simulate(asking, plan)(inputs)
        assert sqnr_db(expected, written(inputs)) > 45
        for layer in ("stem", "head"):
            found, own = written.get_submodule(layer).weight, asking.get_submodule(layer).weight
            assert (found.dtype, found.shape) == (own.dtype, own.shape)
            assert sqnr_db(own, found) > 15
    graph = torch.export.export(written, (), kwargs={"x": inputs}).run_decompositions({}).graph
    graph.eliminate_dead_code()
    assert sum("dequantize_per_channel" in str(node.target) for node in graph.nodes) == (0 if name == "bfloat16" else 2)
