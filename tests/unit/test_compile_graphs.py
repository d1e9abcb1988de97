"""What the compilers write: planned weights really small, float where kept, equal bytes twice, equal outputs at any batch size."""

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from slimline.artifact.folder import folder_bytes
from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.errors import StageError
from slimline.measure.machine import fingerprint
from slimline.methods import get_method
from slimline.methods.compile.lowered import Lowered, arithmetic
from slimline.methods.compile.onnx_graph import layer_nodes
from slimline.methods.compile.onnx_slim import slim
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.compile.xnnpack_graph import computed_types
from slimline.methods.quantize.plan import Plan, layers_of_kind, planned
from slimline.methods.quantize.simulate import simulate
from slimline.params import DynamicParams, HalfParams, StaticParams
from slimline.runtime import load
from tests.lowering import graph_of, samples, write_compiled
from tests.method_data import TEN, method_data
from tests.shared_export import shared_exports
from tests.small_nets import seeded

TARGETS = ("onnxruntime", "openvino")
CONFIGS = {
    "static": StaticParams(source="teacher", method="static"),
    "entropy": StaticParams(source="teacher", method="static", observer="entropy", keep_float=("head",)),
    "dynamic": DynamicParams(source="teacher", method="dynamic", keep_float=("mix",)),
    "half": HalfParams(source="teacher", method="half"),
}
EXAMPLE = torch.zeros(2, 1, 6, 6)


class Net(nn.Module):
    """A residual block, a depthwise and a 1x1 convolution, a Linear over [N, 4, C] that runs twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block, self.deep, self.mix = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 32, 1)
        self.token, self.head = nn.Linear(32, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 5]."""
        x = self.stem(x)
        x = torch.relu(self.mix(torch.relu(self.deep(torch.relu(x + self.block(x))))))
        x = nn.functional.adaptive_avg_pool2d(x, 2).flatten(2).transpose(1, 2)
        x = torch.relu(self.token(torch.relu(self.token(x))))
        return self.head(x.mean(dim=1)) * 10


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(3)
    net = Net()
    net(torch.randn(64, 1, 6, 6))
    return net.eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(90, 1, 6, 6, generator=torch.Generator().manual_seed(4))


def plan_of(name: str, model: nn.Module, inputs: Tensor) -> Plan:
    statistics = collect_statistics(model, named(model, inputs), 32)
    plan: Plan = get_method("quantize", CONFIGS[name].method)(model, CONFIGS[name], statistics=statistics).plan
    return plan


def compiled(target: str, model: nn.Module, plan: Plan | None, folder: Path, inputs: Tensor) -> Lowered:
    folder.mkdir()
    given = samples(model, inputs)
    lowered: Lowered = get_method("compile", target)(model, plan, folder, **given)
    write_compiled(folder, target, lowered, given, "abcde")
    return lowered


@pytest.mark.parametrize("target", TARGETS)
def test_a_float_model_computes_the_same_at_every_batch_size(target: str, model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    lowered = compiled(target, model, None, tmp_path / "c", inputs)
    runtime = load(tmp_path / "c")
    with torch.no_grad():
        expected = model(inputs).numpy()
    for size in (1, 2, 7, 90):
        parity = compare_outputs(expected[:size], runtime.predict(inputs[:size].numpy()), objective=TEN, exact=True)
        assert parity.agreement == 1.0
        assert parity.tolerance is not None
        assert parity.max_abs_difference <= parity.tolerance
    assert (lowered.precision, lowered.computes, lowered.layers) == ("float32", "float32", ())
    assert lowered.operations_before["Conv"] == 4


def computes(target: str, name: str) -> str:
    """In the same words for each target: 16 bits alone depend on what the runtime does with them on this CPU."""
    if name == "half":
        return "bfloat16" if target == "openvino" and {"amx_bf16", "avx512_bf16"} & set(fingerprint()["isa"]) else "float32"
    return {"static": "int8", "entropy": "int8+float32", "dynamic": "int8+float32"}[name]


def test_arithmetic_is_told_smallest_first() -> None:
    assert arithmetic(["float32", "bfloat16", "int8", "float32"]) == "int8+bfloat16+float32"
    assert arithmetic([]) == "float32"
    running = {"FullyConnected float32": 1, "Conv2d int8": 2, "FullyConnected int8 ranged while running": 1, "Add float16": 1}
    assert computed_types(running) == "int8+float32", "ExecuTorch's; a sum is no layer"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_plan_is_lowered_as_it_says(target: str, name: str, model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    plan = plan_of(name, model, inputs)
    lowered = compiled(target, model, plan, tmp_path / "c", inputs)
    small = planned(plan, plan["dtype"] or "int8")
    assert lowered.layers == small
    assert lowered.weight_bytes < (0.75 if plan["dtype"] else 0.6) * lowered.float32_weight_bytes
    with torch.no_grad():
        reference = simulate(model, plan)(inputs).numpy()
    parity = compare_outputs(reference, load(tmp_path / "c").predict(inputs.numpy()), objective=TEN, exact=False)
    assert parity.agreement >= parity.min_agreement
    assert parity.sqnr_db is not None
    assert parity.sqnr_db > 25
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in (tmp_path / "c").iterdir())
    assert lowered.computes == computes(target, name)
    if name == "static":
        assert any("QLinearConv" in op or op in ("Convolution u8", "Convolution i8") for op in lowered.operations_after)


def test_logits_are_not_rounded_to_levels(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    compiled("onnxruntime", model, plan_of("static", model, inputs), tmp_path / "c", inputs)
    graph = onnx.load(tmp_path / "c/model.onnx").graph
    producer = next(node for node in graph.node if "y" in node.output)
    assert producer.op_type != "DequantizeLinear"


def test_slimming_drops_names_and_keeps_the_function(model: nn.Module, inputs: Tensor) -> None:
    import onnxruntime

    exported = graph_of(model, EXAMPLE)
    small = slim(exported)
    assert small.ByteSize() < exported.ByteSize()
    assert not any(node.name or node.doc_string or node.metadata_props for node in small.graph.node)
    outputs = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": inputs.numpy()})[0] for m in (exported, small)]
    assert np.array_equal(*outputs)


def test_nodes_carry_the_names_of_layers(model: nn.Module) -> None:
    graph = graph_of(model, EXAMPLE).graph
    layers = [name for name, _ in model.named_modules()]
    assert set(layer_nodes(graph, layers)) == {"stem.0", "block", "deep", "mix", "token", "token#2", "head"}


def test_a_layer_that_never_runs_is_in_no_graph() -> None:
    net = nn.Sequential(nn.Linear(4, 2))
    net[0].unused = nn.Linear(4, 2)
    graph = graph_of(net, torch.zeros(2, 4)).graph
    assert [tensor.name for tensor in graph.initializer] == ["0.weight", "0.bias"]


def test_a_model_that_cannot_be_exported_is_one_clear_error() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) if x.sum().item() > 0 else self.head(-x)

    with pytest.raises(StageError, match="cannot be exported to ONNX") as caught:
        graph_of(Branching(), torch.zeros(2, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_eager_halves_the_bytes(dtype: str, model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    plan = get_method("quantize", "half")(model, SimpleNamespace(dtype=dtype), statistics=None).plan
    lowered = get_method("compile", "eager")(model, plan, tmp_path, **samples(model, inputs))
    assert (lowered.precision, lowered.computes) == (dtype, dtype)
    assert folder_bytes(tmp_path) < 0.7 * lowered.float32_bytes
    plan["method"], plan["layers"]["head"]["precision"] = "mixed", "float32"
    with pytest.raises(StageError, match="keeps 'head' in float32"):
        get_method("compile", "eager")(model, plan, tmp_path, **samples(model, inputs))


def test_eager_halves_attention_whose_projection_no_plan_can_follow(tmp_path: Path) -> None:
    net, inputs = seeded("encoder", 16).eval(), torch.randn(8, 1, 4, 4)
    given = method_data(net, inputs)
    plan = get_method("quantize", "half")(net, SimpleNamespace(dtype="bfloat16"), statistics=None, data=given).plan
    assert layers_of_kind(plan, "float") == ("encoder.layers.0.self_attn.out_proj", "encoder.layers.1.self_attn.out_proj")
    lowered = get_method("compile", "eager")(net, plan, tmp_path, **samples(net, inputs))
    assert folder_bytes(tmp_path) < 0.6 * lowered.float32_bytes
    with torch.no_grad():
        halved = copy.deepcopy(net).to(torch.bfloat16)
        halved.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.allclose(halved(inputs.bfloat16()).float(), net(inputs), atol=0.1)


def test_eager_keeps_a_net_whole_whose_weights_are_beyond_16_bits(tmp_path: Path) -> None:
    net, inputs = seeded("encoder", 16).eval(), torch.randn(8, 1, 4, 4)
    with torch.no_grad():
        net.get_parameter("head.weight")[0, 0] = 1e6
    plan = get_method("quantize", "half")(net, SimpleNamespace(dtype="float16"), statistics=None).plan
    with pytest.raises(StageError, match="keeps 'head' in float32"):
        get_method("compile", "eager")(net, plan, tmp_path, **samples(net, inputs))
