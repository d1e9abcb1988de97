"""ExecuTorch: XNNPACK takes the whole graph, computes what the plan says at any batch size, and refuses what it has no kernels for."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums, write_json
from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.errors import ArtifactError, StageError
from slimline.methods.compile.executorch import executorch, largest_batch
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.quantize.plan import Plan, layer_plan, make_plan, weighted_layers
from slimline.methods.quantize.ranges import input_range
from slimline.methods.quantize.simulate import simulate
from slimline.params import HalfParams, WeightOnlyParams
from slimline.runtime import load
from slimline.training.fit import predict
from tests.lowering import samples, write_compiled
from tests.method_data import TEN
from tests.thread_use import thread_use

EXAMPLE = torch.zeros(2, 1, 8, 8)
LARGEST = 24


class Net(nn.Module):
    """A residual block behind a batch norm, a depthwise convolution, pooling, a reshape and two Linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block, self.deep = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, groups=16)
        self.hidden, self.head = nn.Linear(16 * 9, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 10]."""
        x = self.stem(x)
        x = torch.relu(self.deep(torch.relu(x + self.block(x))))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        return self.head(torch.relu(self.hidden(x))) * 8


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return torch.from_numpy(load_digits().images[:150].astype(np.float32) / 8 - 1).unsqueeze(1)


@pytest.fixture(scope="module")
def model(digits: Tensor) -> nn.Module:
    torch.manual_seed(3)
    net = Net()
    net(digits)
    return net.eval()


def static_plan(model: nn.Module, inputs: Tensor) -> Plan:
    seen = collect_statistics(model, named(model, inputs), 32).layers
    layers = weighted_layers(model).items()
    return make_plan(
        "static",
        {n: layer_plan(x, "int8", activations=True, input_range=input_range(seen[n], "minmax", 99.99)) for n, x in layers},
        observer="minmax",
    )


def written(model: nn.Module, plan: Plan | None, folder: Path, inputs: Tensor) -> Lowered:
    folder.mkdir()
    given = samples(model, inputs[:64])
    lowered = executorch(model, plan, folder, **given, batch_sizes=(1, LARGEST))
    write_compiled(folder, "executorch", lowered, given)
    return lowered


@pytest.fixture(scope="module")
def int8(model: nn.Module, digits: Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Lowered]:
    plan = static_plan(model, digits)
    low, high = plan["layers"]["hidden"]["input_range"]
    plan["layers"]["hidden"]["input_range"] = [low, high / 4]  # another than calibration shows: the plan's has to be the one that runs
    folder = tmp_path_factory.mktemp("executorch") / "int8"
    return plan, folder, written(model, plan, folder, digits)


@pytest.mark.slow
def test_a_float_model_computes_the_same_at_every_batch_size(model: nn.Module, digits: Tensor, tmp_path: Path) -> None:
    lowered = written(model, None, tmp_path / "c", digits)
    runtime, expected = load(tmp_path / "c"), predict(model, named(model, digits)).numpy()
    for size in (1, 3, 40):
        parity = compare_outputs(expected[:size], runtime.predict(digits[:size].numpy()), objective=TEN, exact=True)
        assert parity.tolerance is not None
        assert parity.max_abs_difference <= parity.tolerance
    assert (lowered.precision, lowered.computes, lowered.layers) == ("float32", "float32", ())
    assert lowered.operations_after["FullyConnected float32"] == 2
    assert not any("not in XNNPACK" in name for name in lowered.operations_after)


def test_a_static_plan_runs_in_int8_with_its_own_ranges(model: nn.Module, digits: Tensor, int8: tuple[Plan, Path, Lowered]) -> None:
    plan, folder, lowered = int8
    expected, runtime = predict(simulate(model, plan), named(model, digits)).numpy(), load(folder)
    unclipped = predict(simulate(model, static_plan(model, digits)), named(model, digits)).numpy()
    assert compare_outputs(unclipped, expected, objective=TEN, exact=False).sqnr_db < 15
    for size in (1, 3, 40, 150):
        parity = compare_outputs(expected[:size], runtime.predict(digits[:size].numpy()), objective=TEN, exact=False)
        assert parity.sqnr_db is not None
        assert parity.sqnr_db > 30
    assert lowered.layers == tuple(plan["layers"])
    assert (lowered.precision, lowered.computes) == ("int8", "int8")
    assert lowered.weight_bytes < 0.3 * lowered.float32_weight_bytes
    assert (folder / "model.pte").stat().st_size < 0.6 * lowered.float32_bytes
    assert lowered.operations_after["DepthwiseConv2d int8"] == 2  # the stem, with its one input channel, is one as well
    assert lowered.operations_after["Add int8"] == 1
    assert not any("not in XNNPACK" in name for name in lowered.operations_after)


@pytest.mark.slow
def test_equal_bytes_twice_and_the_argument_stays(
    model: nn.Module, digits: Tensor, int8: tuple[Plan, Path, Lowered], tmp_path: Path
) -> None:
    plan, folder, _ = int8
    before, before_plan = {name: value.clone() for name, value in model.state_dict().items()}, copy.deepcopy(plan)
    written(model, plan, tmp_path / "again", digits)
    assert checksums(tmp_path / "again") == checksums(folder)
    assert plan == before_plan
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_thread_means_one_thread(int8: tuple[Plan, Path, Lowered]) -> None:
    assert load(int8[1]).execution == {"threads": "1", "largest_batch": str(LARGEST)}
    assert thread_use(int8[1])[0] > 0.97


@pytest.mark.slow
def test_linear_layers_are_ranged_while_running(digits: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)).eval()
    plan = make_plan("dynamic", {name: layer_plan(layer, "int8", activations=True) for name, layer in weighted_layers(net).items()})
    lowered = written(net, plan, tmp_path / "c", digits)
    parity = compare_outputs(
        predict(simulate(net, plan), named(net, digits)).numpy(), load(tmp_path / "c").predict(digits.numpy()), objective=TEN, exact=False
    )
    assert parity.sqnr_db is not None
    assert parity.sqnr_db > 30
    assert lowered.layers == ("1", "3")
    assert lowered.operations_after["FullyConnected int8 ranged while running"] == 2


def test_a_damaged_program_is_one_clear_line(int8: tuple[Plan, Path, Lowered], tmp_path: Path) -> None:
    _, source, _ = int8
    content = (source / "model.pte").read_bytes()
    (tmp_path / "model.pte").write_bytes(content[: len(content) // 2])
    manifest = CompiledManifest.model_validate_json((source / "manifest.json").read_text())
    write_json(tmp_path / "manifest.json", manifest.model_copy(update={"files": checksums(tmp_path)}).model_dump(mode="json"))
    with pytest.raises(ArtifactError, match=r"executorch cannot load model\.pte") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("precision", "settings", "said"),
    [
        ("bfloat16", {"activations": True}, "'stem.0', Conv2d, is to be bfloat16: ExecuTorch's XNNPACK stores convolutions in float32"),
        ("float16", {"activations": True}, "'stem.0', Conv2d, is to be float16"),
        ("int8", {"activations": False}, "'stem.0' is to have int8 weights alone: .* name it in keep_float, or deploy on onnxruntime"),
        ("int4", {"activations": False, "group_size": 8}, "'stem.0' is to have int4 weights alone"),
        ("int8", {"activations": True, "input_range": (-1, 1), "symmetric": False}, "a symmetric scale a channel only"),
    ],
)
def test_what_xnnpack_cannot_take_is_refused(precision: str, settings: dict, said: str, model: nn.Module, tmp_path: Path) -> None:
    plan = make_plan("mixed", {"stem.0": layer_plan(model.stem[0], precision, **settings)})
    with pytest.raises(StageError, match=said):
        executorch(model, plan, tmp_path, **samples(model, EXAMPLE))


def test_check_refuses_it_before_anything_runs() -> None:
    assert "has no bfloat16" in HalfParams(source="teacher", method="half").impossible_on["executorch"]
    assert "only together with int8 inputs" in WeightOnlyParams(source="teacher", method="weight_only").impossible_on["executorch"]


@pytest.mark.parametrize(("sizes", "bound"), [((1, 32), 32), ((1,), 2), ((1, 16), 17)])
def test_the_largest_batch_is_never_the_one_that_torch_fixes(sizes: tuple[int, ...], bound: int) -> None:
    assert largest_batch(sizes) == bound


class Gated(nn.Module):
    """A gated linear unit, halves that go other ways, and planes taken one by one, on rows of 16 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.turn, self.head = nn.Linear(16, 32), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = nn.functional.glu(self.wide(x)).split([8, 8], 1)
        first, second = torch.stack((left, self.turn(right)), 1).unbind(1)
        a, b = (first + second).chunk(2, -1)
        found: Tensor = self.head(torch.cat((a, torch.sigmoid(b)), -1))
        return found


class Recurrent(nn.Module):
    """A layer of either kind over four steps of four numbers, and a head on its last state."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.steps, self.head = kind(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.steps(x.unflatten(1, (4, 4)))[0][:, -1])
        return found


@pytest.mark.slow
@pytest.mark.parametrize("net", [Gated(), Recurrent(nn.GRU), Recurrent(nn.LSTM), Recurrent(nn.RNN)], ids=["gated", "gru", "lstm", "rnn"])
def test_a_net_that_splits_runs_at_every_batch_size(net: nn.Module, tmp_path: Path) -> None:
    inputs = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    written(net.eval(), None, tmp_path / "c", inputs)
    runtime, expected = load(tmp_path / "c"), predict(net, named(net, inputs)).numpy()
    for size in (1, 3, LARGEST):
        np.testing.assert_allclose(runtime.predict(inputs[:size].numpy()), expected[:size], atol=1e-5)


def test_a_convolution_over_three_axes_is_refused_before_it_fails_to_run(tmp_path: Path) -> None:
    net, volumes = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Flatten(), nn.Linear(32, 2)).eval(), torch.randn(4, 1, 4, 4, 4)
    with pytest.raises(StageError, match="compile: '0' is Conv3d: ExecuTorch has no kernel for convolutions over three axes; deploy on"):
        executorch(net, None, tmp_path, **samples(net, volumes))
