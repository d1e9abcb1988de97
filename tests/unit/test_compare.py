"""`slimline compare`: two variants of a run, paired on the same samples, and two runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer import Typer
from typer.testing import CliRunner

from slimline.commands.compare import compare
from slimline.errors import ArtifactError, InputError

PARAMS = "workload: digits\ndeploy: {variants: [teacher], targets: [onnxruntime]}\ngate: {confidence: 0.9}\n"


def row(variant: str, accuracy: float, size_bytes: int, speed: float) -> dict[str, Any]:
    return {
        "variant": variant,
        "target": "onnxruntime",
        "quality": {"accuracy": {"value": accuracy, "ci": [accuracy - 0.01, accuracy], "unit": "fraction", "better": "higher"}},
        "size_bytes": size_bytes,
        "peak_memory_bytes": 80_000_000,
        "parameters": 1000,
        "nonzero": 1000,
        "macs": 5000,
        "latency_ms": {"batch_1": {"p50": 1 / speed, "p95": 2 / speed, "p99": 3 / speed}},
        "speed_ratio": {"batch_1": {"value": speed, "ci": [speed * 0.9, speed * 1.1]}},
        "verdict": "accept" if speed > 1 else "reject",
    }


def write_summary(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 1, "variants": rows}))


def write_predictions(root: Path, name: str, wrong: set[int], samples: int = 100) -> None:
    target = np.arange(samples) % 10
    predicted = [(value + 1) % 10 if index in wrong else value for index, value in enumerate(target)]
    columns = {"index": np.arange(samples), "target": target, "variant": predicted, "variant_error": (predicted != target).astype(np.int64)}
    write_table(root, name, columns)


def write_table(root: Path, name: str, columns: dict[str, Any]) -> None:
    folder = root / "data" / "evaluated" / f"{name}-onnxruntime"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(folder / "predictions.parquet")


@pytest.fixture
def run(in_folder: Path) -> Path:
    """A project with a summary of two variants and their predictions."""
    (in_folder / "dvc.yaml").write_text("stages: {}\n")
    (in_folder / "params.yaml").write_text(PARAMS)
    write_summary(in_folder / "reports" / "summary.json", row("int8", 0.98, 4000, 2.0), row("small", 0.95, 1000, 8.0))
    write_predictions(in_folder, "int8", {1, 2})
    write_predictions(in_folder, "small", {2, 3, 4, 5, 6})
    return in_folder


def command(*arguments: str) -> str:
    app = Typer()
    app.command()(compare)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result.stdout


def test_two_variants_with_a_paired_test(run: Path) -> None:
    found = json.loads(command("int8-onnxruntime", "small-onnxruntime", "--json"))
    figures = {figure["name"]: (figure["a"], figure["b"]) for figure in found["figures"]}
    assert figures["size"] == (4000, 1000)
    assert figures["accuracy"] == (0.98, 0.95)
    paired = found["paired"]
    assert (paired["lost"], paired["gained"], paired["samples"]) == (4, 1, 100)
    assert paired["drop"] == pytest.approx(0.03)
    assert (paired["first"], paired["second"], paired["unit"]) == (0.98, 0.95, "fraction")
    assert paired["p_value"] == pytest.approx(stats.binomtest(1, 5).pvalue)


def test_answers_that_are_more_or_less_far_off_are_compared_by_paired_t(run: Path) -> None:
    draw = np.random.default_rng(0)
    target, before = draw.normal(size=40), draw.random(40)
    after = before + draw.normal(0.3, 0.1, 40)
    for name, error in (("int8", before), ("small", after)):
        write_table(run, name, {"index": range(40), "target": target, "variant": target + error, "variant_error": error})
    paired = json.loads(command("int8-onnxruntime", "small-onnxruntime", "--json"))["paired"]
    asked = stats.ttest_rel(after, before)
    assert (paired["test"], paired["lost"], paired["gained"]) == ("paired t", None, None)
    assert paired["drop"] == pytest.approx((after - before).mean())
    assert paired["ci"] == pytest.approx(list(asked.confidence_interval(0.9)))
    assert paired["p_value"] == pytest.approx(asked.pvalue)
    assert "the mean error grows by 0." in command("int8-onnxruntime", "small-onnxruntime")


def test_samples_that_belong_together_are_compared_as_one(run: Path) -> None:
    of_documents = np.random.default_rng(0).random((2, 8)).repeat(5, axis=1)
    for name, error in zip(("int8", "small"), of_documents, strict=True):
        columns = {"index": range(40), "target": 0.0, "variant": error, "variant_error": error, "cluster": np.arange(8).repeat(5)}
        write_table(run, name, columns)
    paired = json.loads(command("int8-onnxruntime", "small-onnxruntime", "--json"))["paired"]
    alone = stats.ttest_rel(*of_documents[::-1]).confidence_interval(0.9)
    assert paired["test"] == "bootstrap"
    assert paired["ci"][1] - paired["ci"][0] > 1.8 * (alone[1] - alone[0])


@pytest.mark.parametrize(("more", "p_value"), [(0.0, 1.0), (0.5, 0.5**39)])
def test_errors_that_differ_by_one_and_the_same_have_no_spread(run: Path, more: float, p_value: float) -> None:
    for name, error in (("int8", np.full(40, 0.25)), ("small", np.full(40, 0.25 + more))):
        write_table(run, name, {"index": range(40), "target": np.zeros(40), "variant": error, "variant_error": error})
    paired = json.loads(command("int8-onnxruntime", "small-onnxruntime", "--json"))["paired"]
    assert (paired["drop"], paired["p_value"]) == (more, pytest.approx(p_value))


def test_the_table_computes_changes(run: Path) -> None:
    shown = command("int8-onnxruntime", "small-onnxruntime")
    assert "4.00\N{MULTIPLICATION SIGN}" in shown
    assert "drops by 3.00 pp" in shown


def test_without_predictions_there_is_no_paired_test(run: Path) -> None:
    (run / "data/evaluated/small-onnxruntime/predictions.parquet").unlink()
    assert "No paired test" in command("int8-onnxruntime", "small-onnxruntime")


def test_predictions_on_other_samples_are_not_paired(run: Path) -> None:
    path = run / "data/evaluated/small-onnxruntime/predictions.parquet"
    table = pd.read_parquet(path)
    table.assign(target=table["target"].to_numpy()[::-1]).to_parquet(path)
    assert json.loads(command("int8-onnxruntime", "small-onnxruntime", "--json"))["paired"] is None


def test_two_runs(run: Path) -> None:
    write_summary(run / "older.json", row("int8", 0.98, 5000, 0.9), row("svd", 0.97, 3000, 1.1))
    found = json.loads(command("older.json", "reports/summary.json", "--json"))
    assert list(found["variants"]) == ["int8-onnxruntime"]
    assert (found["only_a"], found["only_b"]) == (["svd-onnxruntime"], ["small-onnxruntime"])
    assert found["variants"]["int8-onnxruntime"]["verdict"] == {"a": "reject", "b": "accept"}
    shown = command("older.json", "reports/summary.json")
    assert "1.25\N{MULTIPLICATION SIGN}" in shown
    assert "Only in older.json: svd-onnxruntime" in shown


def test_a_run_against_itself_says_so(run: Path) -> None:
    assert "the same figures" in command("reports", "reports/summary.json")


def test_a_wrong_name_is_told_with_the_known_ones(run: Path) -> None:
    with pytest.raises(InputError, match=r"int9-onnxruntime: no variant-target.*int8-onnxruntime, small-onnxruntime"):
        command("int8-onnxruntime", "int9-onnxruntime")


def test_an_unknown_revision_is_told(run: Path) -> None:
    with pytest.raises(InputError, match="v1: neither a variant-target"):
        command("v1", "v2")


def test_a_damaged_summary_is_told(run: Path) -> None:
    (run / "cut.json").write_text('{"variants": [')
    with pytest.raises(ArtifactError, match=r"cut\.json: cannot be read"):
        command("cut.json", "reports/summary.json")
