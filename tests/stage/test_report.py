"""Stage `report` on a measured line: what it writes, that a gate decides, and what it says of a missing file."""

import json
import shutil
from pathlib import Path

import pytest

from slimline.errors import ArtifactError, StageError
from slimline.params import Params
from slimline.stage import Stage
from slimline.workloads import get_workload
from tasks.report import main
from tests.measured_line import write_line


@pytest.fixture
def measured(in_folder: Path, project: Path) -> Path:
    """A project folder whose line is measured up to evaluate."""
    write_line(in_folder, (project / "params.yaml").read_text(encoding="utf-8"))
    shutil.copytree(project / "reports/templates", in_folder / "reports/templates")
    return in_folder


def report(**gate: float) -> dict:
    params = Params.load()
    changed = params.model_copy(update={"gate": params.gate.model_copy(update=gate)})
    main(Stage("report", "report", None, changed, get_workload(params.workload)))
    return json.loads(Path("reports/summary.json").read_text(encoding="utf-8"))


def test_the_stage_writes_summary_and_pages(measured: Path) -> None:
    summary = report()
    assert summary["schema"] == 1
    assert summary["workload"] == "digits"
    assert {"git", "params_sha256", "started", "seconds", "machine"} <= summary["run"].keys()
    assert len(summary["variants"]) == 22
    for name in ("index.html", "index.md", "stages/report/report.html", "stages/report/report.md"):
        assert (measured / "reports" / name).stat().st_size > 1000


def test_only_run_facts_change_from_one_report_to_the_next(measured: Path) -> None:
    first, second = report(), report()
    assert {**first, "run": None} == {**second, "run": None}


def test_a_stricter_gate_needs_no_new_measurement(measured: Path) -> None:
    easy, strict = report(max_drop=0.05), report(max_drop=0.05, min_size_ratio=100.0)
    accepted = [{row["variant"] for row in summary["variants"] if row["verdict"] == "accept"} for summary in (easy, strict)]
    assert accepted[1] == {"small-int8"}
    assert accepted[1] < accepted[0]


def test_what_was_judged_before_is_counted_and_told(measured: Path) -> None:
    """Of a gate that asks for all together: one that holds among those of this run need not hold among a thousand more."""
    first, later = report(max_drop=0.02, familywise=True), report(max_drop=0.02, familywise=True, judged_before=1000)
    accepted = [[row["variant"] for row in summary["variants"] if row["verdict"] == "accept"] for summary in (first, later)]
    assert set(accepted[1]) < set(accepted[0])
    page = (measured / "reports/index.md").read_text(encoding="utf-8")
    assert "among the 22 of this run and the 1000 that the same test split judged before, judged together" in page


def test_a_relative_margin_judges_the_same_measurement(measured: Path) -> None:
    summary = report(max_relative_drop=0.02)
    kept = [row for row in summary["variants"] if any(reason.startswith("Quality kept: ") for reason in row["reasons"])]
    assert kept == [row for row in summary["variants"] if row["drop"]["relative"]["ci"][1] <= 0.02]
    assert 0 < len(kept) < len(summary["variants"])
    for row in kept:
        assert any("within the 2.00 % of it allowed" in reason for reason in row["reasons"])
    assert "of the teacher's" in (measured / "reports/index.md").read_text(encoding="utf-8").replace("&#39;", "'")


def test_a_missing_measurement_is_named_and_nothing_is_written(measured: Path) -> None:
    (measured / "reports/metrics/evaluate/svd-openvino.json").unlink()
    with pytest.raises(ArtifactError, match=r"svd-openvino\.json"):
        report()
    assert not (measured / "reports/index.html").exists()


def test_missing_predictions_name_the_command(measured: Path) -> None:
    (measured / "data/evaluated/svd-openvino/predictions.parquet").unlink()
    with pytest.raises(StageError, match=r"run `dvc repro evaluate@svd-openvino`"):
        report()
