"""The summary, the controls, the lost samples, the rules and the console table, on a measured line."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from slimline.artifact.folder import write_json
from slimline.errors import ArtifactError, StageError
from slimline.nights.night import night_of
from slimline.params import Params
from slimline.report.console import results_table
from slimline.report.controls import controls
from slimline.report.gate_table import check_results, results_frame
from slimline.report.lost import lost_samples
from slimline.report.numbers import percent
from slimline.report.provenance import STARTED, run_facts
from slimline.report.summary import by_merit, one_machine, preferred, read_measured, summarise
from slimline.workloads import get_workload
from tasks.report import deployed, read_changed, read_judged, read_predictions
from tests.measured_line import MADE, TEACHER_BYTES, write_line

DIGITS = get_workload("digits")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, project: Path) -> tuple[Path, Params]:
    """A measured line of digits in a folder of its own."""
    root = tmp_path_factory.mktemp("line")
    return root, write_line(root, (project / "params.yaml").read_text(encoding="utf-8"))


def changed_of(line: tuple[Path, Params]) -> dict:
    """The test samples that flipped."""
    return read_changed(deployed(line[1]), line[0] / "data/evaluated")


@pytest.fixture(scope="module")
def summary(line: tuple[Path, Params]) -> dict:
    """The summary of that line."""
    evaluations = tuple(read_judged(deployed(line[1]), line[1].gate, line[0] / "reports/metrics"))
    return summarise("digits", {"git": None, "started": "2026-11-22T00:00:00+00:00"}, evaluations)


def test_every_deployed_variant_has_a_row_with_the_keys_of_the_contract(summary: dict, line: tuple[Path, Params]) -> None:
    expected = [(variant, target) for variant in line[1].deploy.variants for target in line[1].deploy.targets]
    assert [(row["variant"], row["target"]) for row in summary["variants"]] == expected
    keys = "variant stage method source target quality drop flips size_bytes size_ratio parameters nonzero macs latency_ms speed_ratio"
    more = "speed_ratio_same_runtime noise_floor peak_memory_bytes energy_mj verdict reasons release"
    assert all(set(f"{keys} {more}".split()) <= row.keys() for row in summary["variants"])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_figures_are_those_that_were_measured(summary: dict) -> None:
    row = next(row for row in summary["variants"] if (row["variant"], row["target"]) == ("channels50", "onnxruntime"))
    assert row["size_ratio"] == TEACHER_BYTES / MADE["channels50"].size_bytes
    assert row["flips"] == {"lost": MADE["channels50"].lost, "gained": MADE["channels50"].gained}
    assert summary["baseline"]["size_bytes"] == TEACHER_BYTES
    assert summary["baseline"]["latency_ms"]["batch_1"]["p50"] > row["latency_ms"]["batch_1"]["p50"]


def test_only_accepted_rows_have_a_release(summary: dict) -> None:
    assert {row["verdict"] for row in summary["variants"]} == {"accept", "reject", "inconclusive"}
    for row in summary["variants"]:
        assert (row["release"] is not None) == (row["verdict"] == "accept")
        assert row["release"] in {None, row["artifact"]}
        assert len(row["artifact"]) == 20
        assert row["reasons"]


def test_a_night_knows_the_files_of_rejected_rows_again(summary: dict, line: tuple[Path, Params]) -> None:
    machine = {"cpu": "a CPU", "cores": 2, "isa": ["AVX2"], "versions": {}}
    run = summary["run"] | {"git_dirty": False, "params_sha256": "p", "seconds": 1.0, "machine": machine}
    rows = night_of(summary | {"run": run}, line[0]).rows
    assert [row.release for row in rows] == [row["artifact"] for row in summary["variants"]]


def test_preferred_is_the_smallest_that_passed(summary: dict) -> None:
    accepted = [row for row in summary["variants"] if row["verdict"] == "accept"]
    assert preferred(summary["variants"])["size_bytes"] == min(row["size_bytes"] for row in accepted)
    assert preferred([row for row in summary["variants"] if row["verdict"] != "accept"]) is None
    assert by_merit(summary["variants"])[0]["variant"] == preferred(summary["variants"])["variant"]


def test_files_of_another_schema_or_none_are_named(line: tuple[Path, Params], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing-openvino\.json: cannot be read"):
        read_measured(tmp_path, "nothing", "openvino")
    quality, _ = read_measured(line[0] / "reports/metrics", "int8", "openvino")
    write_json(tmp_path / "evaluate/int8-openvino.json", {key: value for key, value in quality.items() if key != "drop"})
    with pytest.raises(StageError, match=r"int8-openvino\.json: lacks drop; run `dvc repro -f evaluate@int8-openvino`"):
        read_measured(tmp_path, "int8", "openvino")


def test_times_that_are_missing_or_of_other_bytes_are_named(line: tuple[Path, Params], tmp_path: Path) -> None:
    metrics = line[0] / "reports/metrics"
    quality, timing = (json.loads((metrics / name).read_text()) for name in ("evaluate/int8-openvino.json", "time/openvino.json"))
    write_json(tmp_path / "evaluate/int8-openvino.json", quality | {"artifact_sha256": "0" * 64})
    write_json(tmp_path / "time/openvino.json", timing)
    with pytest.raises(StageError, match=r"int8 was timed before it was compiled anew; run `dvc repro time@openvino`"):
        read_measured(tmp_path, "int8", "openvino")
    del timing["variants"]["int8"]
    write_json(tmp_path / "time/openvino.json", timing | {"failures": {"int8": "its process was ended by SIGKILL"}})
    with pytest.raises(StageError, match=r"time/openvino\.json: has no times of int8: its process was ended by SIGKILL"):
        read_measured(tmp_path, "int8", "openvino")


def test_timings_of_another_machine_are_named(line: tuple[Path, Params]) -> None:
    first, *rest = read_judged(deployed(line[1]), line[1].gate, line[0] / "reports/metrics")
    moved = type(first)(
        first.quality, {**first.timing, "machine": {**first.timing["machine"], "cpu": "other"}}, first.verdict, first.reasons
    )
    machine, elsewhere = one_machine((moved, *rest))
    assert machine == rest[0].timing["machine"] | {"threads": 1}
    assert elsewhere == (first.key,)


def test_the_control_row_is_the_paired_difference(line: tuple[Path, Params]) -> None:
    predictions = read_predictions(deployed(line[1]), line[0] / "data/evaluated")
    rows = list(controls(line[1], predictions))
    assert [(row.student, row.control, row.target) for row in rows] == [
        ("small", "small-scratch", target) for target in line[1].deploy.targets
    ]
    table = predictions["small", "openvino"]
    assert rows[1].student_value == (table["variant"] == table["target"]).mean()
    assert rows[0].gain == pytest.approx(rows[0].student_value - rows[0].control_value)
    assert rows[0].ci[0] < rows[0].gain < rows[0].ci[1]
    assert rows[0].finding.startswith("the teacher's knowledge was worth +")


def test_lost_samples_show_label_and_both_answers(line: tuple[Path, Params]) -> None:
    predictions = read_predictions(deployed(line[1]), line[0] / "data/evaluated")
    lost = lost_samples(predictions, changed_of(line), DIGITS.objective.shown, DIGITS.show, most=5)
    tables = [table[(table["baseline"] == table["target"]) & (table["variant"] != table["target"])] for table in predictions.values()]
    assert lost.what == "that the teacher in eager PyTorch has right and at least one deployed variant has wrong"
    assert lost.total == len({index for table in tables for index in table["index"]})
    assert len(lost.shown) == 5
    assert [sample.losers for sample in lost.shown] == sorted((sample.losers for sample in lost.shown), reverse=True)
    for sample in lost.shown:
        assert sample.baseline == sample.label
        assert all(answer != sample.label for answer, _ in sample.answers)
        assert "<svg" in sample.picture


def test_a_target_is_named_only_where_targets_disagree(line: tuple[Path, Params]) -> None:
    predictions = read_predictions(deployed(line[1]), line[0] / "data/evaluated")
    alone = {
        key: table if key == ("svd", "openvino") else table.assign(variant=table["target"], variant_error=0)
        for key, table in predictions.items()
    }
    lost = lost_samples(alone, changed_of(line), DIGITS.objective.shown, DIGITS.show)
    assert {who for sample in lost.shown for _, who in sample.answers} == {"svd on openvino"}


def test_great_expectations_names_the_rows_that_miss_a_limit(summary: dict, line: tuple[Path, Params]) -> None:
    results = check_results(results_frame(summary["variants"], summary["baseline"], line[1].gate), line[1].gate, "fraction")
    assert all(result.passed for result in results if result.severity == "critical")
    by_rule = {result.rule: result for result in results}
    size = next(result for rule, result in by_rule.items() if rule.startswith("of all") and "bytes" in rule)
    missing = {f"{row['variant']}-{row['target']}" for row in summary["variants"] if row["size_ratio"] < line[1].gate.min_size_ratio}
    assert set(size.failing) == missing
    assert not size.passed


def test_a_verdict_that_contradicts_its_figures_stops_the_line(summary: dict, line: tuple[Path, Params]) -> None:
    wrong = [{**row, "size_ratio": 1.0} for row in summary["variants"]]
    with pytest.raises(StageError, match=r"of the accepted: the teacher has at least .* is broken by .*onnxruntime"):
        check_results(results_frame(wrong, summary["baseline"], line[1].gate), line[1].gate, "fraction")


def test_the_console_table_fits_80_columns_and_says_where_each_release_stands(summary: dict) -> None:
    first = by_merit(summary["variants"])[0]
    key, release = f"{first['variant']}-{first['target']}", "0123456789abcdef0123"
    console = Console(file=io.StringIO(), width=80)
    console.print(results_table(summary, {key: f"s3://slimline/releases/digits/{release}/"}))
    text = console.file.getvalue()
    assert release in text
    assert "Released below s3://slimline/releases/digits/" in text
    assert "…" not in text
    for row in summary["variants"]:
        assert row["variant"] in text
        assert row["verdict"] in text
        assert percent(row["quality"]["accuracy"]["value"]) in text


def test_the_run_starts_when_the_flow_says(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setenv(STARTED, "1700000000")
    facts = run_facts(project, "0" * 64)
    assert facts["started"] == "2023-11-14T22:13:20+00:00"
    assert facts["seconds"] > 0
    monkeypatch.delenv(STARTED)
    assert run_facts(Path("/"), "0" * 64)["git"] is None
