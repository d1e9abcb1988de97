"""Plans name every layer, keep in float what they must with the reason, and simulation does what they say."""

import json

import pytest
import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.errors import InputError
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.dynamic import dynamic
from slimline.methods.quantize.half import half
from slimline.methods.quantize.plan import Plan, planned
from slimline.methods.quantize.simulate import layer_sqnr, simulate, sqnr_db
from slimline.methods.quantize.static import static
from slimline.methods.quantize.stored_bytes import stored_bytes
from slimline.params import DynamicParams, HalfParams, StaticParams


class Net(nn.Module):
    """A convolution, a depthwise one, a Linear that only ever sees zeros, one that never runs, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.dark, self.spare, self.head = nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 4]."""
        x = torch.relu(self.deep(torch.relu(self.first(x)))).mean(dim=(2, 3))
        return self.head(x) + self.dark(x * 0)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(64, 1, 6, 6, generator=torch.Generator().manual_seed(2))


def static_plan(model: nn.Module, inputs: Tensor, **settings: object) -> Plan:
    config = StaticParams.model_validate({"source": "teacher", "method": "static", **settings})
    return static(model, config, statistics=collect_statistics(model, named(model, inputs), 32)).plan


def test_static_plans_first_last_and_depthwise_and_says_why_not_the_others(model: nn.Module, inputs: Tensor) -> None:
    plan = static_plan(model, inputs)
    assert planned(plan, "int8") == ("first", "deep", "head")
    assert "did not run" in plan["layers"]["spare"]["reason"]
    assert "is 0 on the whole calibration sample" in plan["layers"]["dark"]["reason"]
    assert json.loads(json.dumps(plan, allow_nan=False)) == plan
    low, high = plan["layers"]["deep"]["input_range"]
    assert low == 0 < high


def test_keep_float_takes_patterns_and_refuses_strangers(model: nn.Module, inputs: Tensor) -> None:
    plan = static_plan(model, inputs, keep_float=("he*", "first"))
    assert planned(plan, "int8") == ("deep",)
    assert plan["layers"]["head"]["reason"] == "kept in float by keep_float"
    with pytest.raises(InputError, match=r"keep_float: 'tail' matches no layer; there are: first, deep"):
        static_plan(model, inputs, keep_float=("tail",))


def test_dynamic_ranges_linear_layers_only(model: nn.Module) -> None:
    plan = dynamic(model, DynamicParams(source="teacher", method="dynamic", keep_float=("spare",))).plan
    assert [name for name, layer in plan["layers"].items() if layer["activations"]] == ["dark", "head"]
    assert plan["layers"]["first"]["precision"] == "int8"
    assert plan["layers"]["spare"]["precision"] == "float32"


def test_half_leaves_a_layer_that_would_overflow(model: nn.Module) -> None:
    large = Net()
    with torch.no_grad():
        large.head.weight[0, 0] = 1e6
    overflow = half(large, HalfParams(source="teacher", method="half", dtype="float16")).plan
    assert "beyond float16" in overflow["layers"]["head"]["reason"]
    assert set(planned(overflow, "float16")) == {"first", "deep", "dark", "spare"}
    assert len(planned(half(large, HalfParams(source="teacher", method="half")).plan, "bfloat16")) == 5


def test_simulation_rounds_weights_and_inputs(model: nn.Module, inputs: Tensor) -> None:
    plan = static_plan(model, inputs, keep_float=("head",))
    twin = simulate(model, plan)
    assert all(len(channel.unique()) <= 9 for channel in twin.get_submodule("first").weight.flatten(1))
    assert torch.equal(twin.get_submodule("head").weight, model.get_submodule("head").weight)
    seen: list[Tensor] = []
    twin.get_submodule("deep").register_forward_hook(lambda _layer, arguments, _output: seen.append(arguments[0]))
    with torch.no_grad():
        outputs, expected = twin(inputs), model(inputs)
    assert len(seen[0].unique()) <= 256
    assert 25 < sqnr_db(expected, outputs) < 80
    assert min(layer_sqnr(model, simulate(model, plan), plan["layers"], named(model, inputs)).values()) > 30


def test_a_narrow_range_shows_in_the_simulation(model: nn.Module, inputs: Tensor) -> None:
    plan = static_plan(model, inputs)
    plan["layers"]["deep"]["input_range"] = [0.0, 0.05]
    sqnr = layer_sqnr(model, simulate(model, plan), plan["layers"], named(model, inputs))
    assert sqnr["deep"] < 10 < 30 < sqnr["first"]


def test_the_size_is_estimated_from_the_plan(model: nn.Module, inputs: Tensor) -> None:
    weights = {"first": 72, "deep": 72, "dark": 32, "spare": 32, "head": 32}
    biases, scales = 8 + 8 + 4 + 4 + 4, 8 + 8 + 4
    plan = static_plan(model, inputs)
    quantized = weights["first"] + weights["deep"] + weights["head"]
    read = weights["dark"] + biases + scales - 4  # what never runs is in no graph, its bias neither
    assert stored_bytes(model, plan, uses_of(model, named(model, inputs))) == quantized + 4 * read
