"""The decision page of a measured line: every figure is computed, and nothing comes from outside."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from slimline.params import Params
from slimline.report.decision import Evidence, write_decision
from slimline.report.lost import NEARER, RIGHT, LostSamples
from slimline.report.numbers import percent, ratio
from slimline.report.summary import preferred
from slimline.workloads import get_workload
from tasks.report import deployed, read_changed, read_judged, read_predictions, run
from tests.measured_line import write_line

FACTS = {"git": "0123456789abcdef", "git_dirty": True, "params_sha256": "f" * 64, "started": "2026-11-22T00:00:00+00:00", "seconds": 321.5}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Evidence:
    """What the report stage would show of a measured line."""
    root = tmp_path_factory.mktemp("line")
    params = write_line(root, (project / "params.yaml").read_text(encoding="utf-8"))
    evaluations = tuple(read_judged(deployed(params), params.gate, root / "reports/metrics"))
    predictions = read_predictions(deployed(params), root / "data/evaluated")
    samples = read_changed(deployed(params), root / "data/evaluated")
    return run(evaluations, predictions, samples, get_workload("digits"), params, FACTS)


def written(evidence: Evidence, folder: Path, project: Path) -> tuple[str, str]:
    write_decision(evidence, folder, templates=project / "reports/templates")
    return (folder / "index.md").read_text(encoding="utf-8"), (folder / "index.html").read_text(encoding="utf-8")


def test_the_page_opens_with_the_smallest_that_passed(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    best, rows = preferred(evidence.summary["variants"]), evidence.summary["variants"]
    accepted = sum(row["verdict"] == "accept" for row in rows)
    for text in written(evidence, tmp_path, project):
        assert f"digits: {accepted} of {len(rows)} deployed variants passed the gate" in text
        assert f"{ratio(best['size_ratio'])} smaller and {ratio(best['speed_ratio']['batch_1']['value'])} faster" in text


def test_every_row_shows_its_figures_and_its_verdict_in_words(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    markdown, html = written(evidence, tmp_path, project)
    for row in evidence.summary["variants"]:
        line = next(line for line in markdown.splitlines() if line.startswith(f"| {row['variant']} | {row['target']},"))
        assert f"**{row['verdict']}**" in line
        assert percent(row["quality"]["accuracy"]["value"]) in line
        assert ratio(row["size_ratio"]) in line
        assert f"stages/evaluate/{row['variant']}-{row['target']}.html" in html
    assert len(re.findall(r'class="badge (?:accept|reject|inconclusive)">(?:accept|reject|inconclusive)<', html)) == 2 * len(
        evidence.summary["variants"]
    )


def test_caches_of_a_language_model_stand_on_the_page_and_on_no_other(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    assert "By meaning: hits" not in "".join(written(evidence, tmp_path, project))
    figures = {"prefix_tokens": 1024, "first_token_ms": 800.0, "cached_first_token_ms": 40.0, "ratio": 20.0, "equal_answers": 1.0}
    outputs = {"hit_rate": 0.5, "hit_ms": 0.1, "answer_ms": 90.0, "equal_answers": 1.0}
    judged = {"hit_rate": 1.0, "wrong_hit_rate": 0.052, "near_duplicates": 96, "most_wrong": 0.001, "accepted": False}
    rows = [
        {"variant": name, "target": "openvino", **figures, "output_cache": outputs, "semantic": found}
        for name, found in (("int8", judged), ("svd", None))
    ]
    for text in written(replace(evidence, summary={**evidence.summary, "cache": rows}), tmp_path, project):
        assert "20.0×" in text.replace("\\", "")
        assert "5.2 %" in text
        assert "rejected: at most 0.1 % may be wrong" in text
        assert "not judged" in text


def test_what_is_not_smaller_or_faster_is_said(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    markdown, html = written(evidence, tmp_path, project)
    plain = markdown.replace("\\", "")
    assert re.search(r"Not smaller than the teacher: teacher \(onnxruntime 1\.00×, openvino 1\.00×\) and magnitude80", plain)
    assert re.search(r"At batch 1 not faster than the float32 teacher on the same target.*int8-dynamic \(onnxruntime 0\.93×", plain)
    assert "719 samples could have shown a drop of" in html
    assert "the teacher&#39;s knowledge was worth +" in html


def test_the_page_is_self_contained_and_deterministic(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    first, second = written(evidence, tmp_path / "a", project), written(evidence, tmp_path / "b", project)
    assert first == second
    html = first[1]
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|<script|url\(""", html)
    assert html.count("<svg") >= 3 + len(evidence.lost.shown)
    ids = re.findall(r'href="(stages/[^"]+)"', html)
    assert {path for path in ids if ".." in path or path.startswith("/")} == set()


def test_every_stage_of_every_variant_is_linked(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    _, html = written(evidence, tmp_path, project)
    params: Params = evidence.params
    for name, (stage, _) in params.variants.items():
        assert f'href="stages/{stage}/{name}.html"' in html
    for stage in ("data", "teacher", "calibrate"):
        assert f'href="stages/{stage}/{stage}.html"' in html


def test_a_line_where_nothing_passed_still_has_a_page(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    rows = [{**row, "verdict": "reject", "release": None} for row in evidence.summary["variants"]]
    sad = replace(evidence, summary={**evidence.summary, "variants": rows}, lost=LostSamples((), 0, RIGHT), controls=())
    markdown, html = written(sad, tmp_path, project)
    assert "none of 22 deployed variants passed the gate" in markdown
    assert "Nothing is released." in html
    assert "No control is deployed beside its student" in html
    assert "No deployed variant has a test sample wrong" in html


def test_a_metric_of_which_less_is_better_stands_in_its_own_unit(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    base, metric = evidence.summary["baseline"], "log_loss"
    before, rows = base["quality"][metric]["value"], []
    for row in evidence.summary["variants"]:
        value, ci = (found := row["quality"][metric])["value"] - before, [end - before for end in found["ci"]]
        drop = {**row["drop"], "metric": metric, "value": value, "ci": ci, "unit": "nats", "better": "lower", "test": "bootstrap"}
        rows.append({**row, "drop": drop, "detectable_drop": 0.02, "flips": None})
    gate = evidence.params.gate.model_copy(update={"metric": metric, "max_drop": 0.03})
    lost = replace(evidence.lost, what=NEARER)
    params = evidence.params.model_copy(update={"gate": gate})
    markdown, html = written(replace(evidence, summary={**evidence.summary, "variants": rows}, params=params, lost=lost), tmp_path, project)
    plain, best = markdown.replace("\\", ""), preferred(rows)
    assert f"with log_loss {before + best['drop']['value']:.4f} nats against {before:.4f} nats (drop " in plain
    assert "could have shown a drop of 0.0200 nats" in plain
    assert NEARER in plain
    for row in rows:
        line = next(line for line in plain.splitlines() if line.startswith(f"| {row['variant']} | {row['target']},"))
        assert f"{row['quality'][metric]['value']:.4f} nats [" in line
        assert "pp" not in line
    figure = html[html.index('<section id="tradeoff">') : html.index('<section id="shortfalls">')]
    assert "log_loss (nats)</text>" in figure
    assert " %</text>" not in figure


def test_hostile_text_from_a_workload_or_a_reason_is_escaped(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    rows = [{**row, "reasons": [bad]} for row in evidence.summary["variants"]]
    markdown, html = written(replace(evidence, summary={**evidence.summary, "workload": bad, "variants": rows}), tmp_path, project)
    assert "<img" not in html
    assert "<img" not in markdown.replace("\\<img", "")


def test_timings_of_another_machine_are_warned_of(evidence: Evidence, tmp_path: Path, project: Path) -> None:
    for text in written(replace(evidence, elsewhere=("svd-openvino",)), tmp_path, project):
        assert re.search(r"The timings of svd-openvino come from another machine", text)
