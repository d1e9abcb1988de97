"""`slimline check` warns where int8 and 16 bits bring less than they seem to, without torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from slimline.artifact.packed import write_stored
from slimline.artifact.weight_header import weight_shapes
from slimline.cli import app
from slimline.commands import advice, advice_edit
from slimline.commands.advice import warnings
from slimline.commands.advice_case import Case, Layer, stored_layers
from slimline.params import HeadsParams, Params

NARROW = {"stem.0.weight": (8, 1, 3, 3), "wide.0.weight": (64, 8, 3, 3), "norm.weight": (64,), "head.weight": (10, 64)}
TINY = {"a.weight": (16, 1, 3, 3), "b.weight": (32, 16, 3, 3), "head.weight": (10, 32)}
SLIM = {"a.weight": (16, 1, 3, 3), "b.weight": (8, 16, 3, 3), "head.weight": (10, 8)}
LINEAR = {"first.weight": (512, 512), "head.weight": (10, 512)}
GRU = {"decoder.weight_hh_l0": (384, 128), "head.weight": (10, 128)}
LSTM = {"encoder.weight_hh_l0": (512, 128), "head.weight": (10, 128)}
DEPTHWISE = {"widen.weight": (96, 16, 1, 1), "one.weight": (96, 1, 3, 3), "two.weight": (96, 1, 3, 3), "head.weight": (10, 96)}
AMX = ["avx2", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"]


def warned(
    folder: Path,
    scheme: dict[str, Any],
    shapes: dict[str, tuple[int, ...]] | None,
    isa: list[str],
    monkeypatch: pytest.MonkeyPatch,
    stage: str = "quantize",
) -> tuple[str, ...]:
    """The warnings for one deployed scheme on a teacher of these shapes and a CPU of these instruction sets."""
    monkeypatch.setattr(advice, "fingerprint", lambda: {"isa": isa})
    if shapes is not None:
        (folder / "data/models/teacher").mkdir(parents=True)
        save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, folder / "data/models/teacher/weights.safetensors")
    raw = {"workload": "digits", stage: {"tried": {"source": "teacher", **scheme}}}
    return warnings(Params.parse(raw | {"deploy": {"variants": ["teacher", "tried"], "targets": ["onnxruntime", "openvino"]}}), folder)


@pytest.mark.parametrize(
    ("scheme", "shapes", "isa", "said"),
    [
        ({"method": "static"}, NARROW, AMX, "1 layer (stem.0) of fewer than 16 channels"),
        ({"method": "static"}, TINY, AMX, "no layer is wider than 32 channels"),
        ({"method": "dynamic"}, NARROW, AMX, "2 layers (stem.0, wide.0) get int8 weights and compute in float"),
        ({"method": "weight_only", "bits": 8}, NARROW, AMX, "88% of its weights are convolutions"),
        ({"method": "dynamic"}, GRU, AMX, "1 layer (decoder), a GRU, gets int8 weights and computes in float"),
        ({"method": "dynamic"}, LSTM, AMX, "1 layer (encoder), an LSTM, computes in float on openvino"),
        ({"method": "weight_only", "bits": 4}, LINEAR, AMX, "int4 weights on onnxruntime"),
        ({"method": "static", "activations": "symmetric"}, LINEAR, AMX, "activations: symmetric gives no speed"),
        ({"method": "static", "granularity": "per-tensor"}, DEPTHWISE, AMX, "with one scale for a whole layer"),
        ({"method": "static"}, DEPTHWISE, AMX, "int8 loses labels; try equalize"),
        ({"method": "static"}, LINEAR, ["avx2"], "neither VNNI nor AMX"),
        ({"method": "static"}, LINEAR, ["avx2"], "openvino gets 7-bit weights"),
        ({"method": "smoothquant", "ranges": "per-token"}, LINEAR, ["avx2"], "openvino gets 7-bit weights"),
        ({"method": "dynamic"}, LINEAR, ["avx2"], "int8 gains less speed; measured: "),
        ({"method": "half"}, LINEAR, ["avx2"], "no bfloat16 arithmetic"),
        ({"method": "half", "dtype": "float16"}, LINEAR, ["amx_bf16"], "no float16 arithmetic"),
        ({"method": "half", "dtype": "float16"}, LINEAR, AMX, "openvino computes float16 more slowly"),
        ({"method": "half"}, LINEAR, AMX, "onnxruntime unpacks 16-bit weights"),
    ],
)
def test_each_rule_of_quantize_speaks_where_it_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: dict[str, Any], shapes: dict[str, tuple[int, ...]], isa: list[str], said: str
) -> None:
    lines = warned(tmp_path, scheme, shapes, isa, monkeypatch)
    (line,) = [line for line in lines if said in line]
    assert line.startswith("tried: ")
    assert "; measured: " in line


@pytest.mark.parametrize(
    ("stage", "scheme", "shapes", "said"),
    [
        ("prune", {"method": "magnitude", "fraction": 0.8}, LINEAR, "zeros alone"),
        ("prune", {"method": "semi_structured"}, LINEAR, "zeros alone"),
        ("prune", {"method": "channels", "ratio": 0.5}, SLIM, "no convolution is wider than 16 channels"),
        ("factorize", {"method": "svd", "rank": 10}, LINEAR, "no multiples of 8"),
        ("factorize", {"method": "tucker", "energy": 0.9, "round_to": 3}, LINEAR, "no multiples of 8"),
    ],
)
def test_each_rule_of_prune_and_factorize_speaks_where_it_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, scheme: dict[str, Any], shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    (line,) = warned(tmp_path, scheme, shapes, AMX, monkeypatch, stage)
    assert said in line
    assert "; measured: " in line


@pytest.mark.parametrize(
    ("stage", "scheme"),
    [
        ("prune", {"method": "channels", "ratio": 0.5}),
        ("factorize", {"method": "svd", "rank": 32}),
        ("factorize", {"method": "svd", "energy": 0.9}),
    ],
)
def test_what_shrinks_wide_layers_needs_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, scheme: dict[str, Any]
) -> None:
    assert warned(tmp_path, scheme, LINEAR | DEPTHWISE, AMX, monkeypatch, stage) == ()


@pytest.mark.parametrize("scheme", [{"method": "static"}, {"method": "weight_only", "bits": 8}, {"method": "dynamic"}])
def test_linear_layers_on_a_fast_cpu_need_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: dict[str, Any]) -> None:
    assert warned(tmp_path, scheme, LINEAR, AMX, monkeypatch) == ()


def test_an_equalised_depthwise_net_needs_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warned(tmp_path, {"method": "static", "equalize": True}, DEPTHWISE, AMX, monkeypatch) == ()


def test_without_stored_weights_only_params_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warned(tmp_path, {"method": "dynamic"}, None, AMX, monkeypatch) == ()
    assert len(warned(tmp_path, {"method": "half"}, None, AMX, monkeypatch)) == 1


def test_a_cpu_that_does_not_tell_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warned(tmp_path, {"method": "static"}, LINEAR, [], monkeypatch) == ()


def test_layers_are_read_from_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in NARROW.items()}, path)
    path.write_bytes(path.read_bytes()[:-100])  # the values are not needed
    expected = {Layer("stem.0", (8, 1, 3, 3)), Layer("wide.0", (64, 8, 3, 3)), Layer("head", (10, 64))}
    assert set(stored_layers(weight_shapes(tmp_path))) == expected


def test_a_packed_source_is_known_by_its_own_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/models/thin").mkdir(parents=True)
    write_stored(tmp_path / "data/models/thin", {name: torch.zeros(shape) for name, shape in NARROW.items()}, "entropy")
    monkeypatch.setattr(advice, "fingerprint", lambda: {"isa": AMX})
    thin = {"source": "teacher", "method": "channels", "ratio": 0.5, "pack": "entropy"}
    raw = {"workload": "digits", "prune": {"thin": thin}, "quantize": {"tried": {"source": "thin", "method": "static"}}}
    params = Params.parse(raw | {"deploy": {"variants": ["teacher", "tried"], "targets": ["onnxruntime"]}})
    assert any("tried: 1 layer (stem.0) of fewer than 16 channels" in line for line in warnings(params, tmp_path))


@pytest.mark.parametrize("targets", [["eager"], ["eager", "onnxruntime"]])
def test_packing_is_no_gain_where_it_is_unpacked(tmp_path: Path, targets: list[str]) -> None:
    sparse = {"source": "teacher", "method": "magnitude", "fraction": 0.9, "pack": "sparse"}
    raw = {"workload": "digits", "prune": {"tried": sparse, "plain": {**sparse, "pack": "none"}}}
    lines = warnings(Params.parse(raw | {"deploy": {"variants": ["teacher", "tried", "plain"], "targets": targets}}), tmp_path)
    assert [line.split(";")[1] for line in lines if "pack: sparse" in line] == (
        [" on onnxruntime the file is as large as without it"] if "onnxruntime" in targets else []
    )
    assert not any(line.startswith("plain: ") and "pack" in line for line in lines)


def test_check_prints_warnings_apart_from_its_answer(project: Path, in_folder: Path) -> None:
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    (in_folder / "params.yaml").write_text((project / "params.yaml").read_text())
    shown = CliRunner().invoke(app, ["check"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("params.yaml is fine")
    assert "warning: half: onnxruntime unpacks 16-bit weights" in shown.stderr
    found = json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)
    assert [line for line in found["warnings"] if line.startswith("half: ")]
    (in_folder / "params.yaml").write_text(yaml.safe_dump(yaml.safe_load((in_folder / "params.yaml").read_text()) | {"seed": -1}))
    assert json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)["warnings"] == []


def test_advice_needs_no_torch(project: Path) -> None:
    code = "import sys, slimline.commands.advice; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_pass_for_each_head_of_a_large_net_is_warned_of() -> None:
    large = (Layer("embed", (5000, 5000)),)
    for criterion, layers, is_warned in (("output_change", large, True), ("activation", large, False), ("output_change", large[:0], False)):
        config = HeadsParams(source="teacher", method="heads", fraction=0.5, criterion=criterion)
        said = [rule.found(Case("half", config, ("openvino",), layers, frozenset())) for rule in advice_edit.RULES]
        assert any(one and "once for each head of 25,000,000 weights" in one for one in said) == is_warned
