"""Stages `quantize` and `compile` on real rows: the plan, the graph, the check against the plan, and equal bytes twice."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from slimline.artifact.compiled import read_compiled
from slimline.artifact.folder import checksums, sha256_of
from slimline.artifact.variant import load_variant
from slimline.commands.predict import predict
from slimline.data.prepared import load_batch, load_split, load_table
from slimline.errors import OF_MACHINE, InputError
from slimline.stage import stage_main
from slimline.workloads import get_workload
from tasks import calibrate, method_data, quantize, teacher
from tasks import compile as compile_stage
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
TARGETS = ("onnxruntime", "openvino")
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 15, "batch_size": 32, "threads": 1},
    "calibrate": {"samples": 60, "batch_size": 30, "draws": 1},
    "quantize": {
        "int8": {"source": "teacher", "method": "static", "observer": "percentile", "keep_float": ["10"]},
        "trained": {"source": "teacher", "method": "qat", "epochs": 1},
        "half": {"source": "teacher", "method": "half"},
        "none": {"source": "teacher", "method": "static", "keep_float": ["*"]},
    },
    "deploy": {"variants": ["teacher", "int8"], "targets": list(TARGETS)},
}


def run(stage: str, *arguments: str) -> None:
    module, per = {"quantize": (quantize, "variant"), "compile": (compile_stage, "pair")}[stage]
    stage_main(stage, module.main, None, list(arguments), per=per)


@pytest.fixture(scope="module")
def made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder with a trained teacher and the variant int8, compiled for both targets."""
    folder = tmp_path_factory.mktemp("line")
    prepare_project(folder, project, PARAMS, WORKLOAD)
    mode = torch.get_deterministic_debug_mode()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_main("teacher", teacher.main, None, [])
        stage_main("calibrate", calibrate.main, None, [])
        run("quantize", "--variant", "int8")
        for target in TARGETS:
            run("compile", "--variant", "int8", "--target", target)
        yield folder
    torch.set_deterministic_debug_mode(mode)


@pytest.fixture(autouse=True)
def _in_it(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


def test_rows_that_no_method_trains_on_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = checksums(Path("data/models/int8"))
    train, aside = Path("data/prepared/train.arrow"), Path("data/prepared/aside.arrow")
    train.rename(aside)
    run("quantize", "--variant", "int8")
    aside.rename(train)
    assert checksums(Path("data/models/int8")) == before
    asked: list[str] = []
    monkeypatch.setattr(method_data, "load_batch", lambda make, name, samples: asked.append(name) or load_batch(make, name, samples))
    monkeypatch.setattr(method_data, "load_split", lambda make, name: asked.append(name) or load_split(make, name))
    run("quantize", "--variant", "trained")
    assert asked == ["calibration", "train"]


def test_the_plan_is_kept_with_the_sources_weights() -> None:
    source, made_variant = (load_variant(Path("data/models") / name, WORKLOAD) for name in ("teacher", "int8"))
    assert made_variant.plan is not None
    assert all(torch.equal(value, made_variant.model.state_dict()[name]) for name, value in source.model.state_dict().items())
    kept = [name for name, layer in made_variant.plan["layers"].items() if layer["precision"] == "float32"]
    metrics = json.loads(Path("reports/metrics/quantize/int8.json").read_text())
    assert metrics["plan"] == made_variant.plan
    assert metrics["size_bytes"] < metrics["baseline"]["size_bytes"] / 2
    assert set(metrics["sqnr_db"]) == set(made_variant.plan["layers"])
    page = Path("reports/stages/quantize/int8.md").read_text()
    assert all(f"| {name} |" in page for name in made_variant.plan["layers"])
    assert kept == ["10"]
    assert "200.0" not in page, "a float layer has no noise to tell"
    assert "kept in float by keep_float" in Path("reports/stages/quantize/int8.html").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_the_compiled_folder_says_what_it_is_and_how_near(target: str) -> None:
    folder = Path(f"data/compiled/int8-{target}")
    manifest = read_compiled(folder)
    assert (manifest.precision, manifest.stage, manifest.method, manifest.source) == ("int8", "quantize", "static", "teacher")
    assert manifest.source_sha256 == sha256_of(Path("data/models/int8/manifest.json"))
    assert manifest.lineage == ("int8", "teacher")
    assert manifest.parity is not None
    assert manifest.parity.reference == "simulation"
    assert manifest.parity.samples == len(load_table("validation"))
    assert manifest.parity.agreement >= 0.97
    metrics = json.loads(Path(f"reports/metrics/compile/int8-{target}.json").read_text())
    assert metrics["weight_bytes"] < 0.6 * metrics["float32_weight_bytes"]
    page = Path(f"reports/stages/compile/int8-{target}.md").read_text()
    assert "What the compiler fused" in page
    assert f"{metrics['size_bytes']:,} bytes" in page


def test_a_second_run_gives_the_same_bytes() -> None:
    def state() -> tuple[Any, ...]:
        folder = Path("data/compiled/int8-openvino")
        pages = [Path(f"reports/stages/compile/int8-openvino.{ending}").read_bytes() for ending in ("md", "html")]
        metrics = Path("reports/metrics/compile/int8-openvino.json").read_bytes()
        return checksums(folder), (folder / "manifest.json").read_bytes(), pages, metrics

    before = state()
    run("compile", "--variant", "int8", "--target", "openvino")
    assert state() == before


def test_predict_reads_a_table_and_names_a_missing_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = load_table("validation")
    table = pd.DataFrame(prepared.rows(slice(0, len(prepared))))
    predict("data/compiled/int8-onnxruntime", Path("data/prepared/validation.arrow"), as_json=True)
    labels = [row["answer"] for row in json.loads(capsys.readouterr().out)]
    right = sum(label == WORKLOAD.objective.labels[truth] for label, truth in zip(labels, table["label"], strict=True))
    assert right > 0.85 * len(table)
    table.to_csv(tmp_path / "t.csv", index=False)
    predict("data/compiled/int8-onnxruntime", tmp_path / "t.csv", as_json=True)
    assert [row["answer"] for row in json.loads(capsys.readouterr().out)] == labels
    table.drop(columns="mean area").to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(InputError, match=r"has shape \[\d+, 29\]; the model takes float32 \[N, 30\]"):
        predict("data/compiled/int8-onnxruntime", tmp_path / "short.csv")


def test_nothing_to_quantize_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run("quantize", "--variant", "none")
    assert ended.value.code == 1
    assert "no layer would be quantized (kept in float by keep_float)" in caplog.text
    assert not Path("data/models/none").exists()


def test_int8_on_eager_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run("compile", "--variant", "int8", "--target", "eager")
    assert ended.value.code == 1
    assert "eager PyTorch has no int8 kernels" in caplog.text
    assert not Path("data/compiled/int8-eager").exists()


@pytest.mark.parametrize(("target", "package"), [("xla", "jax"), ("executorch", "executorch")])
def test_a_missing_package_of_a_target_is_named(
    target: str, package: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        run("compile", "--variant", "teacher", "--target", target)
    assert ended.value.code == OF_MACHINE
    assert f"the target {target} needs {package}, which is not installed; pip install 'slimline[{target}]'" in caplog.text
    assert not Path(f"data/compiled/teacher-{target}").exists()
