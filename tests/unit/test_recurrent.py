"""LSTM and GRU layers: planned, simulated step by step, stored in the artifact, and lowered so that both runtimes hold int8 and agree."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.structure import build, describe
from slimline.artifact.variant import load_variant, save_variant
from slimline.calibration.sensitivity import sensitivity
from slimline.calibration.statistics import CalibrationStatistics, collect_statistics
from slimline.data.calling import named
from slimline.data.samples import Samples
from slimline.errors import Impossible
from slimline.measure.compute import count
from slimline.measure.layers import layer_sizes
from slimline.methods import get_method
from slimline.methods.compile.lowered import Lowered
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.dynamic import dynamic
from slimline.methods.quantize.half import half
from slimline.methods.quantize.plan import kind
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.recurrent import RoundedRecurrent
from slimline.methods.quantize.simulate import layer_sqnr, simulate, sqnr_db
from slimline.methods.quantize.static import static
from slimline.methods.quantize.stored_bytes import stored_bytes
from slimline.methods.quantize.weight_only import weight_only
from slimline.params import DynamicParams, HalfParams, StaticParams, WeightOnlyParams
from tests.lowering import graph_of, samples
from tests.method_data import TEN
from tests.onnx_sessions import exact_session
from tests.shared_export import shared_exports

STEPS, FEATURES, HIDDEN, CLASSES = 6, 8, 32, 3
MIN_PARITY_DB = 25.0
SAMPLES = torch.randn(33, STEPS, FEATURES, generator=torch.Generator().manual_seed(1)) * 3
METHODS = {
    "dynamic": lambda model, _: dynamic(model, DynamicParams(source="teacher", method="dynamic")),
    "static": lambda model, found: static(model, StaticParams(source="teacher", method="static"), statistics=found),
    "half": lambda model, _: half(model, HalfParams(source="teacher", method="half", dtype="float16")),
    "weight_only": lambda model, _: weight_only(model, WeightOnlyParams(source="teacher", method="weight_only", bits=8)),
}
INT8_OPERATIONS = {
    ("dynamic", "onnxruntime"): ("DynamicQuantizeLSTM", 2),
    ("static", "onnxruntime"): ("DynamicQuantizeLSTM", 2),
    ("dynamic", "openvino"): ("RNNSeq f32", 5),
    ("static", "openvino"): ("RNNSeq u8", 4),
}
"""Per method and target: what runs the LSTM, and how often (OpenVINO runs each direction, and the GRU, as an operation of its own)."""


class Net(nn.Module):
    """Two bidirectional LSTM layers over all steps, a Linear on each, and a GRU of which the last state counts."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(FEATURES, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
        self.middle = nn.Linear(2 * HIDDEN, HIDDEN)
        self.decoder, self.head = nn.GRU(HIDDEN, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 6, 8] -> [N, 3]."""
        x, _ = self.encoder(x)
        _, last = self.decoder(torch.relu(self.middle(x)).transpose(0, 1))
        return self.head(last[-1])


class Tiny:
    """What an artifact asks of a workload."""

    name = "tiny"

    def build_teacher(self) -> nn.Module:
        return Net()

    def build_student(self, config: dict[str, int]) -> nn.Module:
        raise NotImplementedError(config)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(3)
    net = Net().eval()
    for parameter in net.parameters():
        parameter.data.mul_(2)
    return net


@pytest.fixture(scope="module")
def statistics(model: nn.Module) -> CalibrationStatistics:
    return collect_statistics(model, named(model, SAMPLES), 32)


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


def lowered(model: nn.Module, made: Quantized | None, target: str, folder: Path) -> Lowered:
    plan = None if made is None else made.plan
    result: Lowered = get_method("compile", target)(model, plan, folder, **samples(model, SAMPLES))
    return result


def outputs(folder: Path, target: str, lowered_as: Lowered, inputs: Tensor) -> Tensor:
    if target == "openvino":
        compiled = ov.Core().compile_model(folder / "model.xml", "CPU", lowered_as.execution)
        return torch.from_numpy(compiled(inputs.numpy())[0].copy())
    session = exact_session(folder / "model.onnx")
    return torch.from_numpy(session.run(None, {"x": inputs.numpy()})[0])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize(("layers", "both_ways", "batch_first", "bias"), [(1, False, True, True), (3, True, False, False)])
def test_a_recurrent_layer_that_rounds_nothing_computes_the_same(cell, layers, both_ways, batch_first, bias) -> None:
    layer = cell(5, 7, num_layers=layers, bidirectional=both_ways, batch_first=batch_first, bias=bias).eval()
    state = torch.randn(layers * (2 if both_ways else 1), 4 if batch_first else 6, 7)
    given = (state, state / 2) if cell is nn.LSTM else state
    twin, x = RoundedRecurrent(layer, (torch.clone, torch.clone)), torch.randn(4, 6, 5)
    with torch.no_grad():
        (expected, left), (found, left_too) = layer(x, given), twin(x, given)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(left_too, left)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_structure_describes_a_recurrent_layer(cell) -> None:
    layer = cell(5, 7, num_layers=2, bidirectional=True, batch_first=True, bias=False, dropout=0.1)
    again = build(describe(layer))
    assert repr(again) == repr(layer)
    assert {name: value.shape for name, value in again.state_dict().items()} == {n: v.shape for n, v in layer.state_dict().items()}


def test_parameters_and_multiplications_are_counted(model: nn.Module) -> None:
    lstm = 2 * STEPS * 4 * HIDDEN * ((FEATURES + HIDDEN) + (2 * HIDDEN + HIDDEN))
    gru, linear = STEPS * 3 * HIDDEN * (HIDDEN + HIDDEN), STEPS * 2 * HIDDEN * HIDDEN + HIDDEN * CLASSES
    assert count(model, {"x": SAMPLES}).macs == lstm + gru + linear
    assert sum(layer.parameters for layer in layer_sizes(model).values()) == sum(value.numel() for value in model.parameters())


def test_each_method_plans_what_runtimes_have(model: nn.Module, statistics: CalibrationStatistics) -> None:
    kinds = {
        name: {layer: kind(entry) for layer, entry in make(model, statistics).plan["layers"].items()} for name, make in METHODS.items()
    }
    assert kinds["dynamic"] == {"encoder": "dynamic", "middle": "dynamic", "decoder": "weights", "head": "dynamic"}
    assert kinds["static"] == {"encoder": "static", "middle": "static", "decoder": "weights", "head": "static"}
    assert set(kinds["half"].values()) == {"half"}
    assert set(kinds["weight_only"].values()) == {"weights"}
    low, high = METHODS["static"](model, statistics).plan["layers"]["encoder"]["input_range"]
    assert low <= min(-1.0, float(SAMPLES.min())) + 0.05
    assert high >= float(SAMPLES.max()) - 0.05


def test_keep_float_names_a_recurrent_layer(model: nn.Module) -> None:
    plan = dynamic(model, DynamicParams(source="teacher", method="dynamic", keep_float=("enc*",))).plan
    assert plan["layers"]["encoder"]["precision"] == "float32"
    assert plan["layers"]["decoder"]["precision"] == "int8"


def test_simulation_rounds_weights_and_hidden_states(model: nn.Module, statistics: CalibrationStatistics) -> None:
    made = METHODS["dynamic"](model, statistics)
    twin = simulate(model, made.plan)
    matrix = twin.get_submodule("encoder").weight_hh_l1_reverse
    scales = model.encoder.weight_hh_l1_reverse.detach().abs().amax(dim=1, keepdim=True) / 127
    torch.testing.assert_close(matrix / scales, (matrix / scales).round(), atol=1e-3, rtol=0)
    sqnr = layer_sqnr(model, twin, made.plan["layers"], {"x": SAMPLES})
    assert all(25 < value < 100 for value in sqnr.values()), sqnr
    weights_alone = {**made.plan, "layers": {name: {**entry, "activations": False} for name, entry in made.plan["layers"].items()}}
    with torch.no_grad():
        assert not torch.equal(simulate(model, weights_alone)(SAMPLES), twin(SAMPLES))


def test_calibration_tries_recurrent_layers_too(model: nn.Module, statistics: CalibrationStatistics) -> None:
    with torch.no_grad():
        judged = Samples({"x": SAMPLES}, model(SAMPLES).argmax(dim=1))
    found = sensitivity(model, statistics, calibration={"x": SAMPLES}, validation=judged, objective=TEN, metric="accuracy")
    assert found["encoder"]["quantize"] is not None
    assert 0 < found["encoder"]["quantize"].output_change < 0.2
    assert found["decoder"]["prune"] is None
    assert found["decoder"]["channels"] is None


def test_round_trip_through_the_artifact(model: nn.Module, statistics: CalibrationStatistics, tmp_path: Path) -> None:
    made = METHODS["dynamic"](model, statistics)
    names = {"workload": "tiny", "variant": "made", "stage": "quantize", "method": "dynamic", "source": "teacher"}
    save_variant(
        tmp_path / "made",
        made.model,
        Manifest(**names, config={}, lineage=("made", "teacher"), architecture=Architecture(), structure={}, seed=0),
        Tiny(),
        made.plan,
    )
    again = load_variant(tmp_path / "made", Tiny())
    with torch.no_grad():
        assert torch.equal(simulate(again.model, again.plan)(SAMPLES), simulate(made.model, made.plan)(SAMPLES))


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("method", METHODS)
def test_what_runs_is_what_was_simulated(
    model: nn.Module, statistics: CalibrationStatistics, method: str, target: str, tmp_path: Path
) -> None:
    made = METHODS[method](model, statistics)
    result = lowered(made.model, made, target, tmp_path)
    twin = simulate(made.model, made.plan)
    for inputs in (SAMPLES, SAMPLES[:1]):
        with torch.no_grad():
            assert sqnr_db(twin(inputs), outputs(tmp_path, target, result, inputs)) > MIN_PARITY_DB
    assert result.layers == ("encoder", "middle", "decoder", "head")
    least = 1.8 if method == "half" else 3.2
    assert result.float32_weight_bytes / result.weight_bytes > least
    assert result.weight_bytes == pytest.approx(stored_bytes(model, made.plan, uses_of(model, named(model, SAMPLES))), rel=0.15)
    operation, times = INT8_OPERATIONS.get((method, target), (None, None))
    assert operation is None or result.operations_after[operation] == times


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_one_recurrent_layer_stays_float(model: nn.Module, target: str, tmp_path: Path) -> None:
    made = dynamic(model, DynamicParams(source="teacher", method="dynamic", keep_float=("encoder",)))
    result = lowered(made.model, made, target, tmp_path)
    assert result.layers == ("middle", "decoder", "head")
    if target == "onnxruntime":
        stored = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer]
        assert {value.dtype for value in stored if value.shape in {(1, 3 * HIDDEN, HIDDEN), (1, 1, 3 * HIDDEN, HIDDEN)}} == {
            np.dtype("int8")
        }
        assert {value.dtype for value in stored if value.shape == (2, 4 * HIDDEN, HIDDEN)} == {np.dtype("float32")}


@pytest.mark.parametrize("method", METHODS)
def test_an_lstm_with_projections_stays_as_it_is_and_no_onnx_graph_is_made_of_it(method: str) -> None:
    class Projecting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(FEATURES, HIDDEN, 2, batch_first=True, bidirectional=True, proj_size=HIDDEN // 2)
            self.head = nn.Linear(HIDDEN, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.cell(x)[0][:, -1])
            return out

    model = Projecting().eval()
    made = METHODS[method](model, collect_statistics(model, named(model, SAMPLES), 32))
    assert made.plan["layers"]["cell"]["precision"] == "float32"
    twin = simulate(made.model, made.plan)
    assert torch.equal(twin.cell(SAMPLES)[0], model.cell(SAMPLES)[0])
    with pytest.raises(Impossible, match="'cell' is an LSTM with projections"):
        graph_of(model, SAMPLES)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_the_float_graph_is_exact(model: nn.Module, target: str, tmp_path: Path) -> None:
    result = lowered(model, None, target, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(outputs(tmp_path, target, result, SAMPLES), model(SAMPLES), atol=1e-4, rtol=1e-4)


def test_large_matrices_are_constants_too() -> None:
    """The exporter folds small constants alone; a matrix that the graph puts together itself could not be stored in fewer bits."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(4, 272, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            """[N, T, 4] -> [N, 272]."""
            return self.cell(x)[0][:, -1]

    graph = graph_of(Wide(), torch.zeros(2, 3, 4)).graph
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    (cell,) = (node for node in graph.node if node.op_type == "LSTM")
    assert [stored.get(name) for name in cell.input[1:3]] == [(1, 4 * 272, 4), (1, 4 * 272, 272)]
