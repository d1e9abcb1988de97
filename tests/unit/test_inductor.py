"""AOTInductor: int8 kernels with the plan's ranges at every batch size from one package, equal bytes twice; what must be is refused."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.folder import checksums
from slimline.errors import ArtifactError, InputError, MachineError, StageError
from slimline.loaders import inductor as loader
from slimline.methods.compile.inductor import inductor
from slimline.methods.compile.inductor_code import Constant, read_generated, stored_layers
from slimline.methods.compile.instruction_sets import instruction_sets
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.quantize.plan import Plan, layer_plan, make_plan, weighted_layers
from slimline.methods.quantize.simulate import simulate
from slimline.runtime import load
from tests.lowering import samples, write_compiled
from tests.method_data import TEN

EXAMPLE = torch.zeros(1, 1, 6, 6)
STATIC = {"precision": "int8", "activations": True, "input_range": (-4.0, 4.0)}
ENTRIES = {
    "stem": STATIC,
    "deep": STATIC,
    "hidden": {"precision": "int8", "activations": True},
    "wide": {"precision": "bfloat16", "activations": True},
    "head": {"precision": "int8", "activations": False},
}


class Net(nn.Module):
    """A convolution over one channel, a depthwise one, and three Linear layers: each runs in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.hidden, self.wide, self.head = nn.Linear(16 * 36, 64), nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 4]."""
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.hidden((x + torch.relu(self.deep(x))).flatten(1)))
        return self.head(torch.relu(self.wide(x)))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(9)
    net = Net()
    net(torch.randn(64, 1, 6, 6))
    return net.eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(10))


@pytest.fixture(scope="module")
def plan(model: nn.Module) -> Plan:
    return make_plan("mixed", {name: layer_plan(layer, **ENTRIES[name]) for name, layer in weighted_layers(model).items()})


def compiled(folder: Path, model: nn.Module, plan: Plan, inputs: Tensor) -> Lowered:
    folder.mkdir()
    given = samples(model, inputs)
    lowered = inductor(model, plan, folder, **given)
    write_compiled(folder, "inductor", lowered, given, "abcd")
    return lowered


@pytest.fixture(scope="module", autouse=True)
def no_trial_builds() -> Iterator[None]:
    """A process's first compilation builds and runs a test program for each instruction set; that g++ knows them is assumed here."""
    with torch._inductor.config.patch({"cpp.vec_isa_ok": True}):
        yield


@pytest.fixture(scope="module")
def made(model: nn.Module, plan: Plan, inputs: Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lowered]:
    """A compilation takes 10 seconds and more of g++: the tests share one."""
    folder = tmp_path_factory.mktemp("inductor") / "one"
    return folder, compiled(folder, model, plan, inputs)


def test_one_package_computes_the_plan_at_every_batch_size(
    made: tuple[Path, Lowered], model: nn.Module, plan: Plan, inputs: Tensor
) -> None:
    runtime = load(made[0], trust_code=True)
    for size in (1, 2, 7, 40):
        with torch.no_grad():
            reference = simulate(model, plan)(inputs[:size]).numpy()
        parity = compare_outputs(reference, runtime.predict(inputs[:size].numpy()), objective=TEN, exact=False)
        assert parity.agreement >= parity.min_agreement
        assert parity.sqnr_db is not None
        assert parity.sqnr_db > 30
    assert runtime.execution["threads"] == "1"


def test_int8_kernels_run_and_what_does_not_is_told(made: tuple[Path, Lowered]) -> None:
    lowered = made[1]
    after = lowered.operations_after
    assert after["qconv_pointwise_tensor"] == 2
    assert after["qlinear_pointwise_tensor"] == 1
    assert any(name.startswith("cpp_fused") and "quantize_per_tensor" in name for name in after)
    assert lowered.operations_before["quantized_decomposed.dequantize_per_channel"] == 4
    assert lowered.computes == "int8+bfloat16+float32"
    assert lowered.layers == tuple(ENTRIES)
    assert lowered.weight_bytes < 0.5 * lowered.float32_weight_bytes
    assert any("unpack them in every run and compute in float32" in note for note in lowered.notes)


@pytest.mark.slow
def test_equal_bytes_twice_and_no_path_of_this_machine(
    made: tuple[Path, Lowered], model: nn.Module, plan: Plan, inputs: Tensor, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compiled(tmp_path / "two", model, plan, inputs)
    assert checksums(made[0]) == checksums(tmp_path / "two")
    with zipfile.ZipFile(made[0] / "model.pt2") as package:
        assert not [name for name in package.namelist() if name.endswith((".cpp", ".py"))]
        content = b"".join(package.read(name) for name in package.namelist())
    for place in (Path(__file__).parent, Path(torch.__file__).parent, made[0]):
        assert str(place).encode() not in content
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_untrusted_and_altered_packages_are_refused_before_they_are_opened(
    made: tuple[Path, Lowered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "open_package", lambda _: pytest.fail("the package was opened"))
    with pytest.raises(InputError, match=r"runs code when it is loaded; pass trust_code=True \(slimline predict --trust-code\)"):
        load(made[0])
    for path in made[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    package = tmp_path / "model.pt2"
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 1
    package.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.pt2"):
        load(tmp_path, trust_code=True)


def test_another_cpu_is_refused_in_one_line(made: tuple[Path, Lowered], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "open_package", lambda _: pytest.fail("the package was opened"))
    monkeypatch.setattr(loader, "instruction_sets", lambda: tuple(name for name in instruction_sets() if not name.startswith("avx2")))
    with pytest.raises(ArtifactError, match="is machine code for a CPU with avx2, which this one lacks; compile it here") as caught:
        load(made[0], trust_code=True)
    assert "\n" not in str(caught.value)


def test_without_a_compiler_it_is_named(
    model: nn.Module, plan: Plan, inputs: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MachineError, match=r"needs a C\+\+ compiler and g\+\+ is not installed"):
        inductor(model, plan, tmp_path, **samples(model, inputs))


def test_int4_is_refused(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    int4 = make_plan(
        "weight_only", {name: layer_plan(layer, "int4", activations=False, group_size=9) for name, layer in weighted_layers(model).items()}
    )
    with pytest.raises(StageError, match="stores no weight in fewer than 8 bits"):
        inductor(model, int4, tmp_path, **samples(model, inputs))


def test_instruction_sets_are_read_in_linuxs_names(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_int8 fma rtm\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert set(instruction_sets(tmp_path / "cpuinfo")) > {"avx2", "amx_int8", "fma"}
    assert not {"fpu", "rtm"} & set(instruction_sets(tmp_path / "cpuinfo"))
    assert len(instruction_sets(tmp_path / "none")) == 1


def test_generated_code_is_read() -> None:
    source = """
    constants_info_[0].name = "a_weight_scale";
    constants_info_[0].dtype = cached_torch_dtype_float32;
    constants_info_[0].data_size = 64;
    constants_info_[0].original_fqn = "a.weight_scale";
    constants_info_[1].name = "_frozen_param0";
    constants_info_[1].dtype = cached_torch_dtype_int8;
    constants_info_[1].data_size = 640;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qconv_pointwise_tensor(buf0, x, _frozen_param0, a_weight_scale, &out));
    cpp_fused_add_relu_3((const float*)(buf1.data_ptr()));
    """
    generated = read_generated(source)
    assert generated.operations == {"cpp_fused_add_relu": 1, "qconv_pointwise_tensor": 1}
    assert generated.int8_layers(["a", "b"]) == {"a"}
    tiny = "AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qlinear_pointwise_tensor(buf1, x, w, buf4, buf5, &out));"
    assert read_generated(source + tiny).int8_layers(["a", "b"]) == {"a", "b"}, "scales of few outputs have no name"
    assert generated.constants[1] == Constant("_frozen_param0", "int8", 640)
    assert generated.weight_bytes == 704
    assert stored_layers(generated.constants, {"a": ("int8", (600,))}) == ("a",)
    assert stored_layers(generated.constants, {"a": ("int8", (600,)), "b": ("int8", (30,))}) == ("a",)
    assert stored_layers(generated.constants, {"a": ("bfloat16", (16,))}) == ()


def test_a_strided_convolution_over_one_axis_is_refused_in_int8(tmp_path: Path) -> None:
    net, signals = nn.Sequential(nn.Conv1d(4, 8, 3, stride=2), nn.Flatten(), nn.Linear(48, 2)).eval(), torch.randn(4, 4, 13)
    plan = make_plan("static", {"0": layer_plan(net[0], **STATIC)})
    with pytest.raises(StageError, match=r"compile: '0', Conv1d with stride 2, is to be int8: .*; name it in keep_float, or deploy on"):
        inductor(net, plan, tmp_path, **samples(net, signals))
