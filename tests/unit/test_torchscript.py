"""TorchScript: equal outputs at every batch size, equal bytes twice; integers, branches and untrusted files are refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.folder import checksums
from slimline.errors import ArtifactError, InputError, StageError
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.compile.torchscript import torchscript
from slimline.methods.quantize.plan import Plan, layer_plan, make_plan, weighted_layers
from slimline.methods.quantize.simulate import simulate
from slimline.runtime import load
from tests.lowering import samples, write_compiled
from tests.method_data import TEN

EXAMPLE = torch.zeros(1, 1, 6, 6)


class Net(nn.Module):
    """A convolution with a batch norm, and two Linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.hidden, self.head = nn.Linear(16 * 36, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 6, 6] -> [N, 4]."""
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(torch.relu(self.hidden(x.reshape(x.shape[0], -1))))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(7)
    net = Net()
    net(torch.randn(64, 1, 6, 6))
    return net.eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(8))


def plan_of(model: nn.Module, precision: str, keep: str = "") -> Plan:
    kept = {"precision": "float32", "activations": False}
    wanted = {"precision": precision, "activations": True}
    return make_plan(
        "half", {name: layer_plan(layer, **(kept if name == keep else wanted)) for name, layer in weighted_layers(model).items()}
    )


def compiled(model: nn.Module, plan: Plan | None, folder: Path, inputs: Tensor) -> Lowered:
    folder.mkdir()
    given = samples(model, inputs)
    lowered = torchscript(model, plan, folder, **given)
    write_compiled(folder, "torchscript", lowered, given, "abcd")
    return lowered


def test_float32_computes_the_same_at_every_batch_size(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lowered = compiled(model, None, tmp_path / "c", inputs)
    runtime = load(tmp_path / "c", trust_code=True)
    with torch.no_grad():
        expected = model(inputs).numpy()
    for size in (1, 3, 40):
        parity = compare_outputs(expected[:size], runtime.predict(inputs[:size].numpy()), objective=TEN, exact=True)
        assert parity.tolerance is not None
        assert parity.max_abs_difference <= parity.tolerance
    assert lowered.operations_before["aten::batch_norm"] == 1
    assert "aten::batch_norm" not in lowered.operations_after, "folded into the convolution"
    assert lowered.weight_bytes == lowered.float32_weight_bytes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("precision", "keep"), [("bfloat16", ""), ("float16", ""), ("bfloat16", "head")])
def test_sixteen_bits_take_half_the_bytes(precision: str, keep: str, model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    plan = plan_of(model, precision, keep)
    lowered = compiled(model, plan, tmp_path / "c", inputs)
    with torch.no_grad():
        reference = simulate(model, plan)(inputs).numpy()
    parity = compare_outputs(reference, load(tmp_path / "c", trust_code=True).predict(inputs.numpy()), objective=TEN, exact=False)
    assert parity.agreement >= parity.min_agreement
    assert parity.sqnr_db is not None
    assert parity.sqnr_db > 30
    assert lowered.computes == (f"{precision}+float32" if keep else precision)
    assert set(lowered.layers) == {"stem", "hidden", "head"} - {keep}
    assert lowered.weight_bytes < 0.6 * lowered.float32_weight_bytes
    assert (tmp_path / "c/model.pt").stat().st_size < 0.7 * lowered.float32_bytes


def test_equal_bytes_twice_and_no_path_of_this_machine(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    import zipfile

    for name in ("one", "two"):
        compiled(model, None, tmp_path / name, inputs)
    assert checksums(tmp_path / "one") == checksums(tmp_path / "two")
    with zipfile.ZipFile(tmp_path / "one/model.pt") as stored:
        content = b"".join(stored.read(name) for name in stored.namelist())
    assert str(Path(__file__).parent).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_integers_are_refused(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="packs int8 weights anew in every call and runs slower than float32; deploy it on inductor"):
        torchscript(model, plan_of(model, "int8"), tmp_path, **samples(model, inputs))


def test_a_model_that_branches_on_its_input_is_refused(inputs: Tensor, tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(StageError, match="cannot be traced to TorchScript") as caught:
        torchscript(Branching(), None, tmp_path, **samples(Branching(), inputs))
    assert "\n" not in str(caught.value)


def test_untrusted_and_altered_files_are_refused_before_they_are_read(
    model: nn.Module, inputs: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("the file was given to torch")

    compiled(model, None, tmp_path / "c", inputs)
    monkeypatch.setattr(torch.jit, "load", never)
    with pytest.raises(InputError, match=r"a model for torchscript runs code when it is loaded; pass trust_code=True \(slimline"):
        load(tmp_path / "c")
    path = tmp_path / "c/model.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.pt"):
        load(tmp_path / "c", trust_code=True)
