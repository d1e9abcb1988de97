"""Stages evaluate and time: a real teacher and student on ONNX Runtime, measured in real worker processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from slimline.artifact.arrays import write_arrays
from slimline.artifact.folder import sha256_of
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import save_variant
from slimline.data.prepared import load_batch, load_split, load_table
from slimline.data.signature import signature_of
from slimline.data.table import read_numbered, write_table
from slimline.errors import ArtifactError, DataError, MachineError, StageError
from slimline.measure.machine import MACHINE, record
from slimline.objectives.described import described
from slimline.params import Params, Training
from slimline.report.summary import read_measured
from slimline.stage import Stage
from slimline.training.fit import fit
from slimline.verdict.gate import judge
from slimline.workloads import get_workload
from tasks import compile as compile_stage
from tasks import evaluate
from tasks import time as time_stage
from tasks.launches import Launching, groups, timed_together

WORKLOAD = get_workload("tabular")
STUDENT = {"widths": [16]}
WRITTEN = ("predictions.parquet", "changed.arrow")
PARAMS = Params.parse(
    {
        "workload": "tabular",
        "distill": {"small": {"source": "teacher", "method": "soft_targets", "student": STUDENT}},
        "deploy": {"variants": ["teacher", "small"], "targets": ["onnxruntime"]},
        "evaluate": {"pairs": 10, "batch_size": 16, "resamples": 300, "launches": 2},
        "gate": {"max_drop": 0.05, "confidence": 0.75},
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
        signature=signature_of([load_batch(WORKLOAD.samples, "validation", 64)], torch.zeros(1, 2)),
        objective=described(WORKLOAD.objective),
    )
    save_variant(Path("data/models") / variant, model, manifest, WORKLOAD)


def trained(model: torch.nn.Module) -> torch.nn.Module:
    train, validation = (load_split(WORKLOAD.samples, name) for name in ("train", "validation"))
    return fit(model, train, Training(epochs=3), objective=WORKLOAD.objective, metric="accuracy", validation=validation)[0]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[Path]:
    """A project folder in which `small` and the teacher were compiled and timed, and `small` evaluated twice (the first as first.json)."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("reports").mkdir()
        Path("reports/templates").symlink_to(project / "reports" / "templates")
        tables = WORKLOAD.splits({"test_fraction": 0.4, "validation_fraction": 0.2, "calibration_samples": 32}, 0)
        Path("data/prepared").mkdir(parents=True)
        for name, table in tables.items():
            write_table(Path(f"data/prepared/{name}.arrow"), table)
        torch.manual_seed(0)
        saved("teacher", trained(WORKLOAD.build_teacher()), Architecture())
        saved("small", trained(WORKLOAD.build_student(STUDENT)), Architecture(role="student", config=STUDENT))
        for variant in ("teacher", "small"):
            compile_stage.main(stage("compile", variant))
        for name in ("first.json", "second.json"):
            evaluate.main(stage("evaluate", "small"))
            Path(name).write_bytes(stage("evaluate", "small").metrics_path.read_bytes())
            Path(f"{name}.sha256").write_text("".join(sha256_of(Path("data/evaluated/small-onnxruntime") / file) for file in WRITTEN))
        record(folder)
        time_stage.main(Stage("time", "", "onnxruntime", PARAMS, WORKLOAD))
        yield folder


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports/metrics/evaluate/small-onnxruntime.json").read_text())
    return found


def timing(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports/metrics/time/onnxruntime.json").read_text())
    return found


def test_quality_is_the_same_bytes_again(evaluated: Path) -> None:
    assert (evaluated / "first.json").read_bytes() == (evaluated / "second.json").read_bytes()
    assert (evaluated / "first.json.sha256").read_text() == (evaluated / "second.json.sha256").read_text()


def test_quality_agrees_with_the_stored_predictions(evaluated: Path) -> None:
    facts, table = read(evaluated), pd.read_parquet(evaluated / "data/evaluated/small-onnxruntime/predictions.parquet")
    test = load_table("test", evaluated / "data/prepared")
    targets = test.rows(slice(None))["label"]
    assert table["target"].tolist() == targets.tolist()
    assert table["index"].tolist() == list(range(len(test)))
    changed = read_numbered(evaluated / "data/evaluated/small-onnxruntime/changed.arrow")
    assert len(changed) == sum(facts["flips"].values()) > 0
    assert changed == {number: test.row(number) for number in changed}
    assert list(changed) == table["index"][table["baseline_error"] != table["variant_error"]].tolist()
    right = {who: table[who] == table["target"] for who in ("baseline", "variant")}
    for who in right:
        assert table[f"{who}_error"].tolist() == (~right[who]).astype(int).tolist()
        assert table[f"{who}_confidence"].between(0.5, 1).all()
    assert facts["samples"] == len(test)
    assert facts["quality"]["accuracy"]["value"] == pytest.approx(right["variant"].mean())
    assert facts["baseline"]["quality"]["accuracy"]["value"] == pytest.approx(right["baseline"].mean())
    assert facts["drop"]["value"] == pytest.approx(right["baseline"].mean() - right["variant"].mean())
    assert facts["flips"] == {
        "lost": int((right["baseline"] & ~right["variant"]).sum()),
        "gained": int((right["variant"] & ~right["baseline"]).sum()),
    }
    assert (facts["drop"]["unit"], facts["drop"]["better"]) == ("fraction", "higher")
    assert facts["drop"]["relative"]["value"] == pytest.approx(facts["drop"]["value"] / right["baseline"].mean())
    for where, found in (("variant", facts), ("baseline", facts["baseline"])):
        groups = [(name, right[where][targets == index].mean()) for index, name in enumerate(("malignant", "benign"))]
        assert found["groups"] == {name: {"recall": pytest.approx(recall)} for name, recall in groups}
        assert {name: (figure["unit"], figure["better"]) for name, figure in found["quality"].items()} == {
            name: (metric.unit, metric.better) for name, metric in WORKLOAD.objective.metrics.items()
        }


def test_sizes_and_identity_are_those_of_the_artifacts(evaluated: Path) -> None:
    facts, compiled = read(evaluated), evaluated / "data/compiled/small-onnxruntime"
    assert facts["size_bytes"] == sum(file.stat().st_size for file in compiled.iterdir())
    assert facts["size_ratio"] == pytest.approx(facts["baseline"]["size_bytes"] / facts["size_bytes"])
    assert facts["artifact_sha256"] == sha256_of(compiled / "manifest.json")
    assert (facts["stage"], facts["method"], facts["source"], facts["precision"]) == ("distill", "soft_targets", "teacher", "float32")
    assert facts["macs"] == 30 * 16 + 16 * 2


def test_timings_have_every_key_and_sane_figures(evaluated: Path) -> None:
    found = timing(evaluated)
    assert set(found["variants"]) == {"teacher", "small"}
    small = found["variants"]["small"]
    assert set(small["latency_ms"]) == set(small["speed_ratio"]) == set(small["noise_floor"]) == {"batch_1", "batch_16"}
    for ratios in (small["speed_ratio"], small["speed_ratio_same_runtime"]):
        for ratio in ratios.values():
            assert 0 < ratio["ci"][0] <= ratio["value"] <= ratio["ci"][1]
            assert ratio["wall"]["value"] > 0
            assert len(ratio["launches"]) == found["launches"] == 5
    assert small["speed_ratio"]["batch_1"]["value"] > 2
    levels = small["latency_ms"]["batch_1"]
    assert levels["p50"] <= levels["p95"] <= levels["p99"]
    assert small["cold_latency_ms"]["batch_1"]["max"] >= small["cold_latency_ms"]["batch_1"]["p50"] > 0
    assert small["peak_memory_bytes"] < found["baseline"]["peak_memory_bytes"]
    assert small["energy_mj"] is not None or "energy counter" in small["energy_reason"]
    assert found["pairs"] >= 10
    assert (found["threads"], found["machine"]) == (1, json.loads((evaluated / MACHINE).read_text()))


def test_the_teacher_on_the_target_is_its_own_baseline_there(evaluated: Path) -> None:
    found = timing(evaluated)
    assert found["variants"]["teacher"]["speed_ratio_same_runtime"]["batch_1"]["ci"] == [1.0, 1.0]
    assert found["variants"]["teacher"]["latency_ms"] == found["same_runtime_baseline"]["latency_ms"]


def test_both_stages_are_joined_by_the_bytes_that_they_measured(evaluated: Path) -> None:
    quality, found = read_measured(evaluated / "reports/metrics", "small", "onnxruntime")
    assert quality["artifact_sha256"] == found["artifact_sha256"]
    assert found["baseline"] == timing(evaluated)["baseline"]


def test_another_machines_fingerprint_is_refused(evaluated: Path, in_folder: Path) -> None:
    (in_folder / MACHINE).parent.mkdir(parents=True)
    (in_folder / MACHINE).write_text(json.dumps(json.loads((evaluated / MACHINE).read_text()) | {"cores": 96}))
    with pytest.raises(MachineError, match=r"data/machine\.json: is of another machine.*dvc repro --force --single-item machine"):
        time_stage.main(Stage("time", "", "onnxruntime", PARAMS, WORKLOAD))


def test_a_model_that_cannot_be_timed_costs_no_other_its_times(evaluated: Path, tmp_path: Path) -> None:
    compiled = evaluated / "data/compiled"
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (compiled / "small-onnxruntime").iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[: 100 if file.suffix == ".onnx" else None])
    batch = tmp_path / "batch_1.npz"
    write_arrays(batch, {"input": np.zeros((1, 30), np.float32)})
    where = {"teacher": compiled / "teacher-onnxruntime", "broken": broken, "small": compiled / "small-onnxruntime"}
    session = timed_together(where, {"batch_1": batch}, Launching(3, 2, 1, 1, "tabular", ("teacher",)))
    assert list(session.failures) == ["broken"]
    assert "altered or cut short" in session.failures["broken"]
    assert {name: len(session.turns["batch_1"][name]) for name in ("teacher", "small")} == {"teacher": 3, "small": 3}
    with pytest.raises(ArtifactError, match="altered or cut short"):
        timed_together(where, {"batch_1": batch}, Launching(2, 2, 1, 1, "tabular", ("broken",)))


def test_models_that_do_not_fit_in_memory_together_are_timed_in_groups(evaluated: Path) -> None:
    where = dict.fromkeys(("baseline", "a", "b", "c"), evaluated / "data/compiled/small-onnxruntime")
    assert list(groups(where, ("baseline",), 10**12)) == [where]
    assert [list(group) for group in groups(where, ("baseline",), 0)] == [["baseline", name] for name in "abc"]
    assert [list(group) for group in groups(where, ("baseline",), 800_000_000)] == [["baseline", "a", "b"], ["baseline", "c"]]


def test_no_clock_stands_in_the_deterministic_file(evaluated: Path) -> None:
    text = (evaluated / "first.json").read_text()
    assert not [word for word in ("latency", "speed", "seconds", "memory", str(evaluated)) if word in text]


def test_the_gate_can_judge_it(evaluated: Path) -> None:
    verdict = judge(*read_measured(evaluated / "reports/metrics", "small", "onnxruntime"), PARAMS.gate)
    assert verdict.verdict in ("accept", "reject", "inconclusive")
    assert len(verdict.reasons) >= 3


def test_the_page_shows_it(evaluated: Path) -> None:
    page = (evaluated / "reports/stages/evaluate/small-onnxruntime.md").read_text()
    assert "small on onnxruntime" in page
    times = (evaluated / "reports/stages/time/onnxruntime.md").read_text()
    assert "A/A" in times
    assert "cold call" in times
    assert "<svg" in (evaluated / "reports/stages/time/onnxruntime.html").read_text()


def test_a_missing_float32_teacher_on_the_target_is_told(in_folder: Path) -> None:
    record(in_folder)
    with pytest.raises(ArtifactError, match=r"teacher-onnxruntime: missing.*deploy\.variants"):
        time_stage.main(Stage("time", "", "onnxruntime", PARAMS, WORKLOAD))


def test_outputs_that_are_no_numbers_are_no_result() -> None:
    for outputs in (torch.tensor([[0.0, torch.nan], [1.0, 2.0]]), {"boxes": torch.ones(2, 3), "scores": torch.tensor([torch.inf, 1.0])}):
        with pytest.raises(StageError, match="small-onnxruntime: 1 test samples got outputs that are no finite numbers"):
            evaluate.finite("small-onnxruntime", outputs, StageError)
    with pytest.raises(DataError, match="teacher: 2 test samples"):
        evaluate.finite("teacher", torch.full((2, 3), torch.nan), DataError)
