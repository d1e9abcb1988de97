"""A variant that its stage does not make is a result, from the stage on to the page; what diverges or crashes is a failure."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.artifact.missed import read_missed
from slimline.errors import ArtifactError, NotMade, StageError
from slimline.report.summary import Missing, Rejected, measured, read_rejected
from slimline.stage import Stage, stage_main
from slimline.workloads import get_workload
from tasks import calibrate, compile, distill, evaluate, machine, prune, quantize, report, teacher, time
from tasks.missed import note_miss
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
STAGES = {"prune": prune, "quantize": quantize, "distill": distill, "compile": compile, "evaluate": evaluate}
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 15, "batch_size": 32},
    "calibrate": {"samples": 60, "batch_size": 20},
    "prune": {
        "stuck": {"source": "teacher", "method": "channels", "ratio": 0.1, "round_to": 512},
        "empty": {"source": "teacher", "method": "magnitude", "threshold": 1000},
        "headless": {"source": "teacher", "method": "heads", "fraction": 0.5},
        "after": {"source": "stuck", "method": "magnitude", "fraction": 0.5, "recover": {"epochs": 1}},
        "hot": {"source": "teacher", "method": "magnitude", "fraction": 0.5, "recover": {"epochs": 1, "learning_rate": 1000000}},
    },
    "quantize": {
        "int8": {"source": "teacher", "method": "static"},
        "none": {"source": "teacher", "method": "static", "keep_float": ["*"]},
        "after-int8": {"source": "after", "method": "static"},
    },
    "distill": {"large": {"source": "teacher", "method": "soft_targets", "student": {"widths": [900, 900]}, "epochs": 1}},
    "deploy": {"variants": ["teacher", "int8", "stuck", "after-int8"], "targets": ["onnxruntime"]},
    "evaluate": {"pairs": 10, "launches": 2, "resamples": 200, "batch_size": 8},
    "gate": {"confidence": 0.75},
}
MISSED = {
    "prune@stuck": "did not shrink 'teacher'",
    "prune@empty": "would lose all its",
    "prune@headless": "attention",
    "prune@after": "its source 'stuck' was not made: prune.stuck: did not shrink 'teacher'",
    "quantize@none": "no layer would be quantized",
    "quantize@after-int8": "its source 'after' was not made: its source 'stuck' was not made",
    "distill@large": "did not shrink 'teacher'",
}


def run_stage(name: str) -> None:
    stage, _, label = name.partition("@")
    variant, _, target = label.partition("|")
    per = "pair" if target else "variant"
    arguments = ["--variant", variant, *(["--target", target] if target else [])]
    stage_main(stage, STAGES[stage].main, None, arguments, per=per, on_miss=note_miss)


@pytest.fixture(scope="module")
def line(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which every stage has run, as DVC runs them."""
    folder = tmp_path_factory.mktemp("missed")
    prepare_project(folder, project, PARAMS, WORKLOAD)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_main("teacher", teacher.main, None, [])
        stage_main("calibrate", calibrate.main, None, [])
        for name in (*MISSED, "quantize@int8"):
            run_stage(name)
        for variant in PARAMS["deploy"]["variants"]:
            run_stage(f"compile@{variant}|onnxruntime")
        for variant in PARAMS["deploy"]["variants"]:
            run_stage(f"evaluate@{variant}|onnxruntime")
        machine.main()
        stage_main("time", time.main, None, ["--target", "onnxruntime"], per="target")
        yield folder
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(autouse=True)
def _in_it(line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(line)


@pytest.mark.parametrize(("name", "said"), MISSED.items())
def test_what_a_stage_did_not_make_stands_in_all_its_files(name: str, said: str) -> None:
    stage, _, variant = name.partition("@")
    missed = read_missed(Path("data/models") / variant)
    assert missed is not None
    assert (missed.stage, missed.variant) == (stage, variant)
    assert said in missed.reason
    assert json.loads(Path(f"reports/metrics/{stage}/{variant}.json").read_text())["reason"] == missed.reason
    for ending in ("md", "html"):
        assert f"{variant}: not made" in Path(f"reports/stages/{stage}/{variant}.{ending}").read_text()


def test_the_stages_behind_it_pass_it_on_at_once() -> None:
    for variant, stage in (("stuck", "prune"), ("after-int8", "quantize")):
        for folder in (Path("data/compiled"), Path("data/evaluated")):
            passed = read_missed(folder / f"{variant}-onnxruntime")
            assert passed is not None
            assert (passed.stage, passed.variant, passed.target) == (stage, variant, "onnxruntime")
            assert [path.name for path in (folder / f"{variant}-onnxruntime").iterdir()] == ["missed.json"]


def reported(missing: tuple[Missing, ...] = ()) -> dict[str, Any]:
    from slimline.params import Params

    report.main(Stage("report", "report", None, Params.load(), WORKLOAD), missing)
    found: dict[str, Any] = json.loads(Path("reports/summary.json").read_text())
    return found


def test_the_report_rejects_it_with_the_reason_and_judges_the_others() -> None:
    summary = reported()
    rows = {row["variant"]: row for row in summary["variants"]}
    assert list(rows) == PARAMS["deploy"]["variants"]
    assert summary["missing"] == []
    assert [row["variant"] for row in measured(summary["variants"])] == ["teacher", "int8"]
    for variant, stage in (("stuck", "prune"), ("after-int8", "quantize")):
        row = rows[variant]
        assert (row["verdict"], row["release"], row["missed"], row["size_bytes"], row["quality"]) == ("reject", None, stage, None, {})
        assert "did not shrink 'teacher'" in row["reasons"][0]
        assert set(row) == set(rows["int8"])
    for ending in ("md", "html"):
        assert "not made by prune" in Path(f"reports/index.{ending}").read_text()


def test_the_report_names_what_is_missing_and_judges_what_stands() -> None:
    missing = Missing("int8", "onnxruntime", "compile@int8-onnxruntime", "its process was ended by SIGKILL")
    summary = reported((missing, Missing("hot", None, "prune@hot", "the training loss is inf")))
    assert [row["variant"] for row in summary["variants"]] == ["teacher", "stuck", "after-int8"]
    assert summary["missing"][0] == vars(missing)
    for ending in ("md", "html"):
        text = Path(f"reports/index.{ending}").read_text()
        assert "The stage compile@int8-onnxruntime failed, which keeps int8 on onnxruntime from this page: its process was ended by" in text
        assert "The stage prune@hot failed, which keeps hot from this page" in text


def test_no_report_where_nothing_was_measured() -> None:
    gone = tuple(Missing(variant, "onnxruntime", "teacher", "killed") for variant in PARAMS["deploy"]["variants"])
    with pytest.raises(StageError, match="nothing was measured"):
        reported(gone)


def test_what_diverges_is_a_failure_at_its_epoch(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run_stage("prune@hot")
    assert ended.value.code == 1
    assert "prune.hot: training: the " in caplog.text
    assert "in epoch 1 of 1; lower learning_rate (1e+06)" in caplog.text
    assert not Path("data/models/hot").exists()


def test_the_teacher_is_no_variant_that_may_be_missed() -> None:
    from slimline.params import Params

    with pytest.raises(StageError, match="another graph"):
        note_miss(Stage("compile", "teacher", "onnxruntime", Params.load(), WORKLOAD), StageError("another graph"))


def test_a_source_that_was_not_made_is_named() -> None:
    from slimline.artifact.variant import load_variant

    with pytest.raises(NotMade, match=r"^'stuck' was not made: prune\.stuck: did not shrink 'teacher'"):
        load_variant(Path("data/models/stuck"), WORKLOAD)


def test_a_damaged_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "missed.json").write_text("{}")
    with pytest.raises(ArtifactError, match="not a note of a missed variant"):
        read_missed(tmp_path)


def test_a_rejected_row_reads_back_what_evaluate_wrote() -> None:
    found = read_rejected(Path("reports/metrics"), "stuck", "onnxruntime")
    assert isinstance(found, Rejected)
    assert (found.stage, found.method, found.source, found.missed) == ("prune", "channels", "teacher", "prune")
    assert read_rejected(Path("reports/metrics"), "int8", "onnxruntime") is None
