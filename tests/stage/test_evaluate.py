"""Stage evaluate: a real teacher and student on ONNX Runtime, measured in real worker processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from slimline.artifact.folder import sha256_of
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import save_variant
from slimline.errors import ArtifactError, StageError
from slimline.methods.fit import Samples, fit
from slimline.params import Params, Training
from slimline.stage import Stage
from slimline.verdict.gate import judge
from slimline.workloads import get_workload
from tasks import compile as compile_stage
from tasks import evaluate

WORKLOAD = get_workload("tabular")
STUDENT = {"widths": [16]}
PARAMS = Params.parse(
    {
        "workload": "tabular",
        "distill": {"small": {"source": "teacher", "method": "soft_targets", "student": STUDENT}},
        "deploy": {"variants": ["teacher", "small"], "targets": ["onnxruntime"]},
        "evaluate": {"pairs": 10, "batch_size": 16, "resamples": 300},
        "gate": {"max_drop": 0.05},
    }
)


def stage(name: str, variant: str) -> Stage:
    return Stage(name, variant, "onnxruntime", PARAMS, WORKLOAD)


def saved(variant: str, model: torch.nn.Module, architecture: Architecture) -> None:
    lineage = ("teacher",) if variant == "teacher" else (variant, "teacher")
    made = ("teacher", "train", None) if variant == "teacher" else ("distill", "soft_targets", "teacher")
    manifest = Manifest(
        workload="tabular",
        variant=variant,
        stage=made[0],
        method=made[1],
        config={},
        source=made[2],
        lineage=lineage,
        architecture=architecture,
        structure={},
        seed=0,
    )
    save_variant(Path("data/models") / variant, model, manifest, WORKLOAD)


def trained(model: torch.nn.Module, tables: dict[str, pd.DataFrame]) -> torch.nn.Module:
    train, validation = (
        Samples(WORKLOAD.inputs(tables[name]), torch.tensor(tables[name]["label"].to_numpy())) for name in ("train", "validation")
    )
    accuracy = lambda outputs, targets: float((outputs.argmax(axis=1) == targets).mean())  # noqa: E731
    loss = lambda outputs, targets, _inputs: WORKLOAD.loss(outputs, targets)  # noqa: E731
    return fit(model, train, Training(epochs=3), loss=loss, metric=accuracy, validation=validation)[0]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[Path]:
    """A project folder in which `small` and the teacher were compiled and `small` evaluated twice (the first as first.json)."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("reports").mkdir()
        Path("reports/templates").symlink_to(project / "reports" / "templates")
        tables = WORKLOAD.splits({"test_fraction": 0.4, "validation_fraction": 0.2, "calibration_samples": 32}, 0)
        Path("data/prepared").mkdir(parents=True)
        for name, table in tables.items():
            table.to_parquet(f"data/prepared/{name}.parquet")
        torch.manual_seed(0)
        saved("teacher", trained(WORKLOAD.build_teacher(), tables), Architecture())
        saved("small", trained(WORKLOAD.build_student(STUDENT), tables), Architecture(role="student", config=STUDENT))
        for variant in ("teacher", "small"):
            compile_stage.main(stage("compile", variant))
        for name in ("first.json", "second.json"):
            evaluate.main(stage("evaluate", "small"))
            Path(name).write_bytes(stage("evaluate", "small").metrics_path.read_bytes())
            Path(f"{name}.sha256").write_text(sha256_of(Path("data/evaluated/small-onnxruntime/predictions.parquet")))
        yield folder


def read(folder: Path, ending: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"reports/metrics/evaluate/small-onnxruntime.{ending}").read_text())
    return found


def test_quality_is_the_same_bytes_again(evaluated: Path) -> None:
    assert (evaluated / "first.json").read_bytes() == (evaluated / "second.json").read_bytes()
    assert (evaluated / "first.json.sha256").read_text() == (evaluated / "second.json.sha256").read_text()


def test_quality_agrees_with_the_stored_predictions(evaluated: Path) -> None:
    facts, table = read(evaluated, "json"), pd.read_parquet(evaluated / "data/evaluated/small-onnxruntime/predictions.parquet")
    test = pd.read_parquet(evaluated / "data/prepared/test.parquet")
    assert table["label"].tolist() == test["label"].tolist()
    flipped = pd.read_parquet(evaluated / "data/evaluated/small-onnxruntime/flipped.parquet")
    assert len(flipped) == sum(facts["flips"].values())
    assert flipped.equals(test.loc[flipped.index])
    right = {who: table[who] == table["label"] for who in ("baseline", "variant")}
    assert facts["samples"] == len(test)
    assert facts["quality"]["accuracy"]["value"] == pytest.approx(right["variant"].mean())
    assert facts["baseline"]["quality"]["accuracy"]["value"] == pytest.approx(right["baseline"].mean())
    assert facts["drop"]["value"] == pytest.approx(right["baseline"].mean() - right["variant"].mean())
    assert facts["flips"] == {
        "lost": int((right["baseline"] & ~right["variant"]).sum()),
        "gained": int((right["variant"] & ~right["baseline"]).sum()),
    }
    assert set(facts["per_class"]) == {"malignant", "benign"}


def test_sizes_and_identity_are_those_of_the_artifacts(evaluated: Path) -> None:
    facts, compiled = read(evaluated, "json"), evaluated / "data/compiled/small-onnxruntime"
    assert facts["size_bytes"] == sum(file.stat().st_size for file in compiled.iterdir())
    assert facts["size_ratio"] == pytest.approx(facts["baseline"]["size_bytes"] / facts["size_bytes"])
    assert facts["artifact_sha256"] == sha256_of(compiled / "manifest.json")
    assert (facts["stage"], facts["method"], facts["source"], facts["precision"]) == ("distill", "soft_targets", "teacher", "float32")
    assert facts["macs"] == 30 * 16 + 16 * 2


def test_timings_have_every_key_and_sane_figures(evaluated: Path) -> None:
    timing = read(evaluated, "timing.json")
    assert set(timing["latency_ms"]) == set(timing["speed_ratio"]) == set(timing["noise_floor"]) == {"batch_1", "batch_16"}
    for ratios in (timing["speed_ratio"], timing["speed_ratio_same_runtime"]):
        for ratio in ratios.values():
            assert 0 < ratio["ci"][0] <= ratio["value"] <= ratio["ci"][1]
            assert ratio["wall"]["value"] > 0
    assert timing["speed_ratio"]["batch_1"]["value"] > 2
    levels = timing["latency_ms"]["batch_1"]
    assert levels["p50"] <= levels["p95"] <= levels["p99"]
    assert timing["peak_memory_bytes"] < timing["baseline"]["peak_memory_bytes"]
    assert timing["energy_mj"] is not None or "energy counter" in timing["energy_reason"]
    assert timing["pairs"] == 10
    assert timing["machine"]["threads"] == 1


def test_no_clock_stands_in_the_deterministic_file(evaluated: Path) -> None:
    text = (evaluated / "first.json").read_text()
    assert not [word for word in ("latency", "speed", "seconds", "memory", str(evaluated)) if word in text]


def test_the_gate_can_judge_it(evaluated: Path) -> None:
    verdict = judge(read(evaluated, "json"), read(evaluated, "timing.json"), PARAMS.gate)
    assert verdict.verdict in ("accept", "reject", "inconclusive")
    assert len(verdict.reasons) >= 3


def test_the_page_shows_it(evaluated: Path) -> None:
    page = (evaluated / "reports/stages/evaluate/small-onnxruntime.md").read_text()
    assert "small on onnxruntime" in page
    assert "A/A" in page
    assert "<svg" in (evaluated / "reports/stages/evaluate/small-onnxruntime.html").read_text()


def test_a_missing_float32_teacher_on_the_target_is_told(in_folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"teacher-onnxruntime: missing.*deploy\.variants"):
        evaluate.main(stage("evaluate", "small"))


def test_logits_that_are_no_numbers_are_no_result() -> None:
    logits = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)
    with pytest.raises(StageError, match="1 test samples got logits that are no finite numbers"):
        evaluate.finite("small-onnxruntime", logits)
