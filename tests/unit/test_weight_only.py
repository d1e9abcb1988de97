"""Weight-only integers: how weights are grouped and rounded, and that both runtimes store them in so few bits and compute the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.errors import InputError, StageError
from slimline.methods import get_method
from slimline.methods.compile import onnx_weights, openvino_weights
from slimline.methods.compile.integer_weights import integer_weight
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.onnx_slim import slim
from slimline.methods.compile.openvino_graph import stored_layers
from slimline.methods.compile.openvino_ir import slim_ir
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.hqq import hqq
from slimline.methods.quantize.plan import planned
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.static import static
from slimline.methods.quantize.stored_bytes import stored_bytes
from slimline.methods.quantize.weight_only import weight_only
from slimline.methods.quantize.weights import levels, stored_grid
from slimline.params import HqqParams, StaticParams, WeightOnlyParams
from tests.lowering import graph_of, samples
from tests.onnx_sessions import exact_session
from tests.shared_export import shared_exports

TARGETS = ("onnxruntime", "openvino")
FILES = {"onnxruntime": "model.onnx", "openvino": "model.bin"}
EXAMPLE = torch.zeros(2, 1, 6, 6)
EXACT_DB = 90
"""What two orders of float32 additions leave; a wrong level or scale anywhere leaves less than 60."""


class Net(nn.Module):
    """Convolutions (one depthwise, one with a batch norm of negative gammas), a Linear over tokens that runs twice, two over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.block, self.deep = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, groups=32)
        self.token, self.wide, self.head = nn.Linear(32, 32), nn.Linear(128, 384), nn.Linear(384, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 5]."""
        x = torch.relu(self.deep(torch.relu(self.block(self.stem(x)))))
        x = nn.functional.adaptive_avg_pool2d(x, 2).flatten(2).transpose(1, 2)
        x = torch.relu(self.token(torch.relu(self.token(x))))
        return self.head(torch.relu(self.wide(x.flatten(1))))


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(5)
    net = Net()
    nn.init.normal_(net.stem[1].weight)
    net(torch.randn(64, 1, 6, 6))
    return net.eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(6))


@pytest.fixture(scope="module")
def exported(model: nn.Module) -> onnx.ModelProto:
    return graph_of(model, EXAMPLE)


def rounded(model: nn.Module, **settings: object) -> Quantized:
    return weight_only(model, WeightOnlyParams.model_validate({"source": "teacher", "method": "weight_only", **settings}))


def fitted(model: nn.Module, **settings: object) -> Quantized:
    return hqq(model, HqqParams.model_validate({"source": "teacher", "method": "hqq", **settings}))


def lower(target: str, made: Quantized, folder: Path, inputs: Tensor) -> Lowered:
    """By the whole compiler."""
    folder.mkdir()
    compiler = get_method("compile", target)
    lowered: Lowered = compiler(made.model, made.plan, folder, grids=made.grids, **samples(made.model, inputs))
    return lowered


def store(target: str, made: Quantized, exported: onnx.ModelProto, folder: Path) -> tuple[str, ...]:
    """The weights alone stored in an exported graph, and written; the layers that hold them."""
    folder.mkdir(exist_ok=True)
    if target == "onnxruntime":
        small = onnx_weights.store_weights(exported, made.model, made.plan, made.grids)
        onnx.save(slim(small), folder / FILES[target])
        return onnx_weights.stored_layers(small.graph, made.plan)
    onnx.save(exported, folder / "float.onnx")
    graph = openvino_weights.store_weights(ov.convert_model(folder / "float.onnx"), made.model, made.plan, made.grids)
    ov.serialize(graph, folder / "model.xml")
    slim_ir(folder / "model.xml")
    return stored_layers(graph, made.plan)


def run(target: str, folder: Path, inputs: Tensor) -> Tensor:
    if target == "openvino":
        settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_NUM_THREADS": "1"}
        return torch.from_numpy(ov.Core().compile_model(folder / "model.xml", "CPU", settings)([inputs.numpy()])[0].copy())
    session = exact_session(folder / "model.onnx")
    return torch.from_numpy(session.run(None, {"x": inputs.numpy()})[0])


def simulated(made: Quantized, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = simulate(made.model, made.plan, made.grids)(inputs)
    return outputs


def test_groups_are_as_large_as_the_inputs_allow_and_the_entry_says_why(model: nn.Module) -> None:
    entries = rounded(model, group_size=128, keep_float=("token",)).plan["layers"]
    found = {name: (entry["granularity"], entry["group_size"], entry["reason"]) for name, entry in entries.items()}
    assert found["wide"] == ("per-group", 128, None)
    assert found["block"] == ("per-group", 32, "288 inputs are no multiple of 128: in groups of 32")
    assert found["stem.0"] == ("per-channel", None, "9 inputs are no multiple of 128: a scale for each channel")
    assert entries["token"]["precision"] == "float32"
    with pytest.raises(InputError, match="'tail' matches no layer"):
        rounded(model, keep_float=("tail",))


def test_smaller_groups_and_zero_points_are_nearer_to_the_weights(model: nn.Module) -> None:
    settings = ({"granularity": "per-tensor"}, {"granularity": "per-channel"}, {"group_size": 128}, {"group_size": 32})
    weight = model.get_submodule("wide").weight.detach()
    nearer = [sqnr_db(weight, simulate(model, rounded(model, **each).plan).get_submodule("wide").weight) for each in settings]
    assert nearer == sorted(nearer)
    shifted = nn.Linear(128, 16)
    with torch.no_grad():
        shifted.weight.abs_()
    by_zero_point, without = (rounded(nn.Sequential(shifted), symmetric=symmetric) for symmetric in (False, True))
    gained = [sqnr_db(shifted.weight.detach(), simulate(made.model, made.plan, made.grids)[0].weight) for made in (by_zero_point, without)]
    assert gained[0] > gained[1] + 5, "weights of one sign leave half of the symmetric levels empty"


def test_asymmetric_levels_keep_zero_exact_and_err_by_half_a_level(model: nn.Module) -> None:
    sparse = nn.Linear(64, 8)
    with torch.no_grad():
        sparse.weight[:, ::3] = 0
    made = rounded(nn.Sequential(sparse), symmetric=False)
    entry, grid = made.plan["layers"]["0"], stored_grid(made.grids, "0", made.plan["layers"]["0"])
    assert grid is not None
    whole = levels(sparse.weight, entry, grid)
    assert (int(whole.min()), int(whole.max())) == (0, 15)
    after = simulate(made.model, made.plan, made.grids)[0].weight
    assert bool((after[:, ::3] == 0).all())
    assert float((after - sparse.weight.detach()).abs().max()) <= float(grid[0].max()) * 0.5001


def test_the_estimate_counts_levels_scales_and_zero_points(model: nn.Module) -> None:
    weights = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    biases = sum(layer.bias.numel() for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d) if layer.bias is not None)
    groups = 32 + 32 * 9 + 32 + 32 + 384 * 4 + 5 * 12
    uses = uses_of(model, named(model, EXAMPLE))
    biases += 32  # the stem's, from its batch norm
    estimates = {
        name: stored_bytes(made.model, made.plan, uses, made.grids) - 4 * biases
        for name, made in {"whole": rounded(model, group_size=32, symmetric=False), "fitted": fitted(model, group_size=32)}.items()
    }
    assert stored_bytes(model, rounded(model, group_size=32).plan, uses) - 4 * biases == weights // 2 + 4 * groups
    assert estimates == {"whole": weights // 2 + 4 * groups + groups // 2, "fitted": weights // 2 + 8 * groups}


@pytest.mark.parametrize("target", TARGETS)
def test_int4_takes_half_the_bytes_of_int8_in_the_file(target: str, model: nn.Module, exported: onnx.ModelProto, tmp_path: Path) -> None:
    sizes = {}
    for bits in (8, 4):
        store(target, rounded(model, bits=bits, granularity="per-channel"), exported, tmp_path / str(bits))
        sizes[bits] = (tmp_path / str(bits) / FILES[target]).stat().st_size
    values = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    assert sizes[8] - sizes[4] == pytest.approx(values / 2, rel=0.06)


SCHEMES = {
    "int8 per tensor": {"bits": 8, "granularity": "per-tensor"},
    "int8 groups": {"bits": 8, "group_size": 32, "symmetric": False},
    "int4 channels": {"granularity": "per-channel"},
    "int4 groups": {"group_size": 32},
    "int4 zero points": {"group_size": 64, "symmetric": False},
}


@pytest.mark.parametrize("scheme", [*SCHEMES, "hqq"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_runs_is_what_was_simulated(
    target: str, scheme: str, model: nn.Module, inputs: Tensor, exported: onnx.ModelProto, tmp_path: Path
) -> None:
    made = fitted(model, group_size=64) if scheme == "hqq" else rounded(model, **SCHEMES[scheme])
    assert store(target, made, exported, tmp_path) == ("stem.0", "block", "deep", "token", "wide", "head")
    expected = simulated(made, inputs)
    for size in (1, 40):
        assert sqnr_db(expected[:size], run(target, tmp_path, inputs[:size])) > EXACT_DB
    with torch.no_grad():
        assert sqnr_db(model(inputs), expected) < EXACT_DB - 30, "nothing was rounded"


def test_4_bit_matrix_products_stay_packed_while_they_run(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    made = rounded(model, group_size=32)
    by_onnx, by_openvino = (lower(target, made, tmp_path / target, inputs) for target in TARGETS)
    assert by_onnx.operations_after["MatMulNBits"] == 4, "token runs twice"
    assert not {"Cast", "Mul", "DequantizeLinear"} & by_onnx.operations_after.keys(), "convolutions are unpacked at load"
    assert by_openvino.operations_after["FullyConnected i4"] == 4
    for lowered in (by_onnx, by_openvino):
        assert (lowered.precision, lowered.computes, lowered.layers) == ("int4", "float32", planned(made.plan, "int4"))
        assert lowered.weight_bytes == pytest.approx(
            stored_bytes(made.model, made.plan, uses_of(made.model, named(made.model, inputs))), rel=0.02
        )
    kinds = [tensor.data_type for tensor in onnx.load(tmp_path / "onnxruntime/model.onnx").graph.initializer]
    assert kinds.count(onnx.TensorProto.INT4) == 3
    assert kinds.count(onnx.TensorProto.UINT8) == 3, "equal constants stand once"


@pytest.mark.parametrize("target", TARGETS)
def test_static_int8_and_int4_weights_share_a_graph(target: str, model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    ranged = static(model, StaticParams(source="teacher", method="static"), statistics=collect_statistics(model, named(model, inputs), 20))
    small = rounded(model, group_size=32, symmetric=False)
    few = ("block", "wide")
    layers = ranged.plan["layers"] | {name: small.plan["layers"][name] for name in few}
    grids = {name: grid for name, grid in small.grids.items() if name.startswith(few)}
    mixed = Quantized(model, ranged.plan | {"layers": layers}, grids=grids)
    lowered = lower(target, mixed, tmp_path / "c", inputs)
    assert lowered.layers == tuple(layers)
    assert lowered.precision == "int4+int8"
    assert "int8" in lowered.computes
    assert sqnr_db(simulated(mixed, inputs), run(target, tmp_path / "c", inputs)) > 25


def test_a_graph_with_other_weights_is_refused(model: nn.Module) -> None:
    weight = model.get_submodule("wide").weight
    entry = rounded(model).plan["layers"]["wide"]
    doubled = integer_weight(weight, entry, None, 2 * weight.detach().numpy())
    plain = integer_weight(weight, entry, None, weight.detach().numpy())
    assert np.allclose(doubled.unpacked(), 2 * plain.unpacked())
    with pytest.raises(StageError, match="is not its layer's own, scaled by channel"):
        integer_weight(weight, entry, None, weight.detach().numpy()[:, ::-1])


def test_4_bits_are_refused_where_8_are_taken() -> None:
    four, eight = (WeightOnlyParams(source="teacher", method="weight_only", bits=bits) for bits in (4, 8))
    assert "fewer than 8 bits" in str(four.refused_by("inductor"))
    assert eight.refused_by("inductor") is None
    assert "no int8 kernels" in str(eight.refused_by("eager"))
    assert four.refused_by("onnxruntime") is None
