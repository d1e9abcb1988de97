"""benchmarks/schemes.py: what it would run, and the table and figures that it makes of what was measured."""

import argparse
import json
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from slimline.params import CONFIGS, TARGETS, Params
from tests.measured_line import write_line

ARGUMENTS = argparse.Namespace(
    family="quantization", seed=3, pairs=10, workload="digits", targets=["onnxruntime", "openvino"], schemes=["static"]
)


@pytest.fixture
def schemes(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(project / "benchmarks"))
    return import_module("schemes")


@pytest.mark.parametrize("family", ["quantization", "pruning", "low-rank"])
def test_every_scheme_is_a_method_with_options_that_it_has(schemes: ModuleType, family: str) -> None:
    arguments = argparse.Namespace(**{**vars(ARGUMENTS), "family": family})
    stage = schemes.FAMILIES[family].stage
    for setting in schemes.WORKLOADS.values():
        known = schemes.known_schemes(setting, schemes.FAMILIES[family])
        params = Params.parse(schemes.params_of(setting, known, "onnxruntime", arguments))
        assert set(params.variants) == set(known)
        assert {config.method for section, config in params.variants.values() if section == stage} == set(CONFIGS[stage])


def test_a_scheme_brings_the_one_that_it_starts_from(schemes: ModuleType) -> None:
    known = {"wide": {"method": "channels", "ratio": 0.5}, "wide-int8": {"stage": "quantize", "source": "wide", "method": "static"}}
    family = schemes.Family("Chains", "prune", lambda _: known)
    found = schemes.with_sources(family, schemes.WORKLOADS["digits"], ["wide-int8"])
    assert {name: (stage, entry["source"]) for name, (stage, entry) in found.items()} == {
        "wide-int8": ("quantize", "wide"),
        "wide": ("prune", "teacher"),
    }


def test_what_a_target_cannot_take_is_told_once_a_reason(schemes: ModuleType) -> None:
    fine, refused = schemes.possible(schemes.WORKLOADS["digits"], ["static", "dynamic", "bf16"], "eager", ARGUMENTS)
    assert fine == ["bf16"]
    (line,) = refused
    assert line.startswith("eager: static, dynamic: eager PyTorch has no int8 kernels")


@pytest.fixture
def matrix(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(project / "benchmarks"))
    return import_module("matrix")


def test_the_matrix_asks_every_method_of_every_net(matrix: ModuleType) -> None:
    for net in matrix.NETS.values():
        params = Params.parse(matrix.params_of(net))
        asked = {(section, config.method) for section, config in params.variants.values()}
        every = {(section, method) for section, methods in CONFIGS.items() for method in methods}
        assert asked == every - {("distill", "sequence")}  # a teacher of language alone writes texts


def test_the_matrix_as_a_page(matrix: ModuleType) -> None:
    works = {"drop": 0.012, "ci": [0.001, 0.02], "unit": "fraction", "speed": 2.04}
    cells = {"teacher eager": works, "static eager": {"refused": "no kernels"}, "dynamic eager": {"refused": "no kernels"}}
    text = matrix.page({"volume": (cells, "")}, {"cpu": "a CPU"})
    assert "| teacher | **1.20 pp**, 2.0× | · |" in text
    assert "| static | a | · |" in text
    assert "| dynamic | a | · |" in text
    assert "- **a**: no kernels" in text
    assert "| volume | 1 of 3 | · |" in text
    both = matrix.page({"signal": ({"teacher eager": works}, "")}, {"cpu": "another CPU"}, text)
    assert "| volume | 1 of 3 | · |" in both
    assert both.endswith(text.partition("\n## ")[2]), "a net that was not measured stays as it stands"
    assert both.index("another CPU") < both.index("a CPU")


def test_every_workload_file_of_the_benchmarks_is_there(schemes: ModuleType, matrix: ModuleType, project: Path) -> None:
    named = {setting.file for setting in schemes.WORKLOADS.values() if setting.file} | {
        file for net in matrix.NETS.values() for file in net.files
    }
    assert named == {path.name for path in (project / "benchmarks/workloads").glob("*.py")}


def test_what_was_measured_becomes_a_table_and_figures(
    schemes: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: {"method": "static"} for name in ("int8", "int8-dynamic", "bf16")}
    monkeypatch.setitem(schemes.FAMILIES, "quantization", schemes.Family("Some", "quantize", lambda _: known, beside=("bf16",)))
    content: dict[str, Any] = yaml.safe_load((project / "params.yaml").read_text())
    content["deploy"]["targets"] = ["onnxruntime"]
    content["quantize"]["bf16"] = content["quantize"].pop("half")
    content["deploy"]["variants"] = ["teacher", "int8", "int8-dynamic"]
    write_line(tmp_path, yaml.safe_dump(content))
    content["deploy"]["variants"].append("bf16")
    for variant in ("teacher", "int8", "bf16"):
        (tmp_path / "data/models" / variant).mkdir(parents=True)
        (tmp_path / "data/compiled" / f"{variant}-onnxruntime").mkdir(parents=True)
    content["deploy"]["variants"].append("svd")
    outcomes = list(schemes.measured(tmp_path, content, {"svd": "no rank"}))
    found, failed = [one for one in outcomes if not isinstance(one, str)], [one for one in outcomes if isinstance(one, str)]
    assert [one.key for one in found] == ["teacher-onnxruntime", "int8-onnxruntime"]
    assert [line.partition(":")[0] for line in failed] == ["int8-dynamic on onnxruntime", "bf16 on onnxruntime", "svd on onnxruntime"]
    assert failed[-1] == "svd on onnxruntime: no rank"
    arguments = argparse.Namespace(**vars(ARGUMENTS), out=tmp_path, docs=False)
    schemes.write(arguments, found, failed)
    table = (tmp_path / "schemes.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| int8 | onnxruntime | ")]
    assert len(rows) == 1
    assert f"{found[1].quality['size_bytes']:,}" in rows[0]
    assert "- bf16 on onnxruntime: " in table
    assert "--schemes int8 --targets onnxruntime --pairs 10`" in table
    rows_of_summary = json.loads((tmp_path / "schemes.json").read_text())
    pruned = import_module("scheme_table").markdown(rows_of_summary, [], "a command", "pruning")
    assert "| smaller | parameters | zero | MACs | batch 1: than eager | batch 1: than float32 | batch 1: noise |" in pruned
    fewer = rows_of_summary["baseline"]["macs"] / rows_of_summary["variants"][1]["macs"]
    assert f"% | {fewer:.2f}× | " in next(line for line in pruned.splitlines() if line.startswith("| int8 |"))
    for name in ("size", "latency"):
        assert ElementTree.fromstring((tmp_path / f"{name}.svg").read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_speed_against_sixteen_bits_is_that_of_the_same_target(schemes: ModuleType) -> None:
    table = import_module("scheme_table")
    speeds = {("int8", "openvino"): 4.0, ("bf16", "openvino"): 2.0, ("bf16", "onnxruntime"): 1.0}
    rows = [
        {"variant": variant, "target": target, "speed_ratio_same_runtime": {"batch_1": {"value": value}}}
        for (variant, target), value in speeds.items()
    ]
    assert table._against_sixteen_bits(rows[0], rows, "batch_1") == "2.00×"
    assert table._against_sixteen_bits(rows[0], rows[2:], "batch_1") == "–"


def test_targets_are_those_that_params_know(schemes: ModuleType) -> None:
    assert schemes._names(TARGETS, "xla,eager") == ["xla", "eager"]
    with pytest.raises(argparse.ArgumentTypeError, match="unknown 'tpu'"):
        schemes._names(TARGETS, "eager,tpu")
