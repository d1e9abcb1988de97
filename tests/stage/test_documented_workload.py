"""The workload of docs/add-a-workload.md goes through every stage of the line, as a plain file named in params.yaml."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from slimline.artifact.compiled import read_compiled
from slimline.measure.machine import record
from slimline.stage import stage_main

pytestmark = pytest.mark.slow

PARAMS: dict[str, Any] = {
    "workload": "workloads/wine.py:Wine",
    "data": {"test_fraction": 0.3, "validation_fraction": 0.15, "calibration_samples": 24},
    "teacher": {"source": "train", "epochs": 15, "batch_size": 32},
    "calibrate": {"samples": 24, "batch_size": 12},
    "prune": {"narrow": {"source": "teacher", "method": "channels", "ratio": 0.5, "recover": {"epochs": 3, "batch_size": 32}}},
    "quantize": {"narrow-int8": {"source": "narrow", "method": "static"}},
    "factorize": {"thin": {"source": "teacher", "method": "svd", "rank": 16}},
    "distill": {"small": {"source": "teacher", "method": "soft_targets", "student": {"width": 8}, "epochs": 10, "batch_size": 32}},
    "deploy": {"variants": ["teacher", "narrow-int8"], "targets": ["onnxruntime"]},
    "evaluate": {"batch_size": 4, "pairs": 10, "launches": 2, "resamples": 200},
    "gate": {"max_drop": 0.5, "confidence": 0.75},
}
DEPLOYED = tuple((stage, name, "onnxruntime") for stage in ("compile", "evaluate") for name in PARAMS["deploy"]["variants"])
MODELS = (("prune", "narrow"), ("quantize", "narrow-int8"), ("factorize", "thin"), ("distill", "small"))


def run(stage: str, *arguments: str, per: str = "stage") -> None:
    stage_main(stage, import_module(f"tasks.{stage}").main, None, list(arguments), per=per)


SPOT: dict[str, Any] = {
    "workload": "workloads/spot.py:Spot",
    "teacher": {"source": "train", "epochs": 12, "batch_size": 32, "learning_rate": 0.005},
    "calibrate": {"samples": 32, "batch_size": 16},
    "prune": {"narrow": {"source": "teacher", "method": "channels", "ratio": 0.25, "recover": {"epochs": 2, "batch_size": 32}}},
    "quantize": {"int8": {"source": "teacher", "method": "static"}},
    "deploy": {"variants": ["teacher", "int8"], "targets": ["onnxruntime"]},
    "evaluate": {"batch_size": 4, "pairs": 10, "launches": 2, "resamples": 200},
    "gate": {"metric": "distance", "max_drop": 0.5, "min_speed_ratio": 0, "confidence": 0.75},
}


def run_line(folder: Path, project: Path, params: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    """Every stage of the line in a folder, on a workload of the documentation."""
    file, _, name = params["workload"].rpartition(":")
    text = (project / "docs/add-a-workload.md").read_text()
    (code,) = [found for found in re.findall(r"```python\n(.*?)```", text, re.S) if f"class {name}:" in found]
    (folder / "workloads").mkdir()
    (folder / file).write_text(code)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(project / "reports/templates", folder / "reports/templates")
    patch.chdir(folder)
    patch.setenv("PYTHONPATH", str(project))
    for stage in ("data", "teacher", "calibrate"):
        run(stage)
    for section in ("prune", "quantize", "factorize", "distill"):
        for variant in params.get(section, {}):
            run(section, "--variant", variant, per="variant")
    for stage in ("compile", "evaluate"):
        for variant, target in itertools.product(params["deploy"]["variants"], params["deploy"]["targets"]):
            run(stage, "--variant", variant, "--target", target, per="pair")
    record(folder)
    for target in params["deploy"]["targets"]:
        run("time", "--target", target, per="target")
    run("report")


@pytest.fixture(scope="module")
def line(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder in which the whole line has run on the documented workload."""
    folder, deterministic = tmp_path_factory.mktemp("wine"), torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        run_line(folder, project, PARAMS, patch)
        yield folder
    torch.use_deterministic_algorithms(deterministic)


def test_two_inputs_and_an_objective_of_ones_own(project: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deterministic = torch.are_deterministic_algorithms_enabled()
    run_line(in_folder, project, SPOT, monkeypatch)
    torch.use_deterministic_algorithms(deterministic)
    summary = json.loads(Path("reports/summary.json").read_text())
    rows = {(row["variant"], row["target"]): row for row in summary["variants"]}
    assert len(rows) == 2
    assert summary["baseline"]["quality"]["distance"]["value"] < 1
    int8 = rows["int8", "onnxruntime"]
    assert int8["drop"]["unit"] == "px"
    assert int8["flips"] is None
    assert int8["size_ratio"] > 2
    assert int8["verdict"] == "accept", int8["reasons"]
    assert "px" in int8["reasons"][0]
    assert [one.text for one in read_compiled(Path("data/compiled/int8-onnxruntime")).signature.inputs] == [
        "float32 [N, 1, 9, 9]",
        "float32 [N, 1]",
    ]
    page = Path("reports/index.html").read_text()
    assert "on which the error of a deployed variant grew most" in page


def test_the_summary_judges_it(line: Path) -> None:
    summary = json.loads((line / "reports/summary.json").read_text())
    rows = {row["variant"]: row for row in summary["variants"]}
    assert summary["workload"] == "wine"
    assert rows.keys() == {"teacher", "narrow-int8"}
    assert rows["narrow-int8"]["size_ratio"] > 3
    assert rows["narrow-int8"]["quality"]["accuracy"]["value"] > 0.6
    assert rows["narrow-int8"]["verdict"] == "accept"


def test_every_stage_wrote_its_page(line: Path) -> None:
    pages = {path.relative_to(line / "reports/stages").with_suffix("").as_posix() for path in (line / "reports/stages").rglob("*.html")}
    expected = {
        "data/data",
        "teacher/teacher",
        "calibrate/calibrate",
        "time/onnxruntime",
        "report/report",
        *("/".join(one) for one in MODELS),
    }
    assert pages == expected | {f"{stage}/{variant}-{target}" for stage, variant, target in DEPLOYED}


def test_the_compiled_model_knows_where_it_comes_from(line: Path) -> None:
    manifest = read_compiled(line / "data/compiled/narrow-int8-onnxruntime")
    assert manifest.objective["labels"] == ["barolo", "grignolino", "barbera"]
    assert manifest.workload == PARAMS["workload"]
