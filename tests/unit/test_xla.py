"""XLA: a StableHLO program of any batch size, run by JAX without torch; equal bytes twice, and no path of this machine in them.

torchax takes over torch.compile in its process, so the compiler runs in one of its own: `python test_xla.py FOLDER`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from slimline.artifact.folder import checksums, write_json
from slimline.errors import ArtifactError, StageError
from slimline.loaders.xla import padded_size
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.compile.xla import xla
from slimline.methods.quantize.plan import Plan, layer_plan, make_plan, weighted_layers
from slimline.methods.quantize.simulate import simulate
from slimline.params import StaticParams
from slimline.runtime import load
from slimline.training.fit import predict
from tests.lowering import samples, write_compiled
from tests.method_data import TEN
from tests.thread_use import thread_use

EXAMPLE = torch.zeros(2, 1, 8, 8)


def digits() -> Tensor:
    """150 real digits."""
    return torch.from_numpy(load_digits().images[:150].astype(np.float32) / 8 - 1).unsqueeze(1)


class Net(nn.Module):
    """A residual block behind a batch norm, pooling, a reshape and a Linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 10]."""
        x = self.stem(x)
        return self.head(nn.functional.max_pool2d(torch.relu(x + self.block(x)), 2).flatten(1)) * 8


def network() -> nn.Module:
    torch.manual_seed(3)
    net = Net()
    net(digits())
    return net.eval()


def half_plan(model: nn.Module) -> Plan:
    layers = {name: layer_plan(layer, "bfloat16", activations=True) for name, layer in weighted_layers(model).items()}
    return make_plan("half", layers, dtype="bfloat16")


def compile_all(place: Path) -> None:
    """Compile the network in float32, twice, and in bfloat16; what the compiler tells stands in told.json."""
    model, told = network(), {}
    for name, plan in (("float32", None), ("again", None), ("bfloat16", half_plan(model))):
        folder = place / name
        folder.mkdir()
        given = samples(model, EXAMPLE)
        lowered = xla(model, plan, folder, **given, batch_sizes=(1, 16))
        write_compiled(folder, "xla", lowered, given)
        told[name] = lowered.__dict__
    (place / "told.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xla")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7"}
    environment["PYTHONWARNINGS"] = "error:`isinstance(treespec:FutureWarning"  # would be told to the user of the stage
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network()


def test_a_float_model_computes_the_same_at_every_batch_size(place: Path, model: nn.Module) -> None:
    runtime, inputs = load(place / "float32"), digits()
    expected = predict(model, {"x": inputs}).numpy()
    for size in (1, 3, 40):
        parity = compare_outputs(expected[:size], runtime.predict(inputs[:size].numpy()), objective=TEN, exact=True)
        assert parity.tolerance is not None
        assert parity.max_abs_difference <= parity.tolerance


def test_equal_models_give_equal_bytes_without_paths(place: Path) -> None:
    program = (place / "float32/model.stablehlo").read_bytes()
    assert program == (place / "again/model.stablehlo").read_bytes()
    assert not [part for part in (b"site-packages", str(Path.cwd()).encode(), b".py") if part in program]


def test_the_page_tells_what_was_fused(place: Path) -> None:
    told = json.loads((place / "told.json").read_text())["float32"]
    assert told["operations_before"]["convolution"] == 2
    assert told["operations_before"]["dot_general"] == 1
    assert sum(told["operations_after"].values()) < sum(told["operations_before"].values())
    assert any("fusion" in name for name in told["operations_after"])
    assert told["weight_bytes"] == 4 * sum(p.numel() for p in network().parameters()) - 4 * 16  # the batch norm's scale is folded


def test_bfloat16_halves_the_bytes(place: Path, model: nn.Module) -> None:
    told = json.loads((place / "told.json").read_text())["bfloat16"]
    plan = half_plan(model)
    assert told["layers"] == list(plan["layers"])
    assert told["weight_bytes"] < 0.55 * told["float32_weight_bytes"]
    outputs, expected = load(place / "bfloat16").predict(digits().numpy()), predict(simulate(model, plan), {"x": digits()}).numpy()
    parity = compare_outputs(expected, outputs, objective=TEN, exact=False)
    assert parity.sqnr_db is not None
    assert parity.sqnr_db > 30


def test_one_thread_means_one_thread_and_torch_stays_out(place: Path) -> None:
    share, with_torch = thread_use(place / "float32")
    assert share > 0.97
    assert not with_torch


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 4), (5, 8), (16, 16), (9, 16), (15, 16)])
def test_other_batches_are_padded_to_a_power_of_two(count: int, size: int) -> None:
    assert padded_size(count, (1, 16)) == size


def test_a_program_that_calls_functions_of_a_library_is_refused(place: Path, tmp_path: Path) -> None:
    script = (
        "import sys, jax, jax.export, numpy as np\n"
        "shape = jax.ShapeDtypeStruct((*jax.export.symbolic_shape('batch'), 1, 8, 8), np.float32)\n"
        "exported = jax.export.export(jax.jit(lambda x: jax.numpy.linalg.cholesky(x[:, 0])[:, 0]), platforms=['cpu'])\n"
        "open(sys.argv[1], 'wb').write(exported(shape).serialize())\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "model.stablehlo")], check=True, capture_output=True)
    with pytest.raises(ArtifactError, match="calls lapack_spotrf_ffi, which is no part of StableHLO"):
        loaded_with_checksums(place, tmp_path)


def test_a_damaged_program_is_one_clear_line(place: Path, tmp_path: Path) -> None:
    content = (place / "float32/model.stablehlo").read_bytes()
    (tmp_path / "model.stablehlo").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=r"jax .* cannot load model\.stablehlo") as caught:
        loaded_with_checksums(place, tmp_path)
    assert "\n" not in str(caught.value)


def loaded_with_checksums(place: Path, folder: Path) -> None:
    manifest = json.loads((place / "float32/manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | {"files": checksums(folder)})
    load(folder)


def test_int8_is_refused_with_the_reason(model: nn.Module, tmp_path: Path) -> None:
    plan = make_plan("static", {"head": layer_plan(model.head, "int8", activations=True, input_range=(-1, 1))})
    with pytest.raises(StageError, match="XLA has no int8 kernels on the CPU, and 'head' is to be int8"):
        xla(model, plan, tmp_path, **samples(model, EXAMPLE))
    assert "no int8 kernels" in StaticParams(source="teacher", method="static").impossible_on["xla"]


if __name__ == "__main__":
    compile_all(Path(sys.argv[1]))
