"""The whole line on a small run, by both doors, in fresh clones: `python -m flows.compress` and `dvc repro`."""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.dag import read_dag
from tests.pipeline.small_run import DEPLOYED, sh

PAGES = {"data/data", "look/look", "teacher/teacher", "calibrate/calibrate", "report/report"}
PAGES |= {"teach/teacher", "prune/channels50", "quantize/small-int8", "factorize/svd", "distill/small"}
PAGES |= {"time/onnxruntime"} | {f"{stage}/{name}-onnxruntime" for stage in ("compile", "evaluate") for name in DEPLOYED}
LOOPBACK = ("127.", "::1", "localhost", "/", "b'/", "::ffff:127.", "\x00")


def test_the_flow_ends_well_and_shows_its_table(flow_run: dict[str, Any]) -> None:
    assert flow_run["code"] == 0, flow_run["output"][-6000:]
    assert "small-int8" in flow_run["output"]
    assert "reports/index.html" in flow_run["output"]


def test_nothing_reaches_outside(flow_run: dict[str, Any]) -> None:
    lines = [line.split("\t") for line in flow_run["log"].splitlines()]
    started = "\n".join(line[2] for line in lines if line[0] == "started")
    watched = ["flows.compress", "prefect", "dvc --wait-for-lock repro", "push --run-cache", "slimline.worker", "tasks.publish"]
    watched += [f"tasks.{page.split('/')[0]}" for page in PAGES]
    assert [name for name in watched if name not in started] == [], "not every process was watched"
    attempts = [line for line in lines if line[0] != "started"]
    assert len(attempts) > 10
    outside = [line for line in attempts if not line[1].strip("'\"").startswith(LOOPBACK) and line[1] not in ("None", "''", "b''")]
    assert outside == []
    assert flow_run["sockets"] == set()


@pytest.mark.slow
def test_no_telemetry_is_collected(flow_run: dict[str, Any], dvc_run: dict[str, Any]) -> None:
    """Native telemetry does not show among Python's audit events, but it queues its own in the home folder, as ONNX Runtime does."""
    for home in (flow_run["home"], dvc_run["home"]):
        kept = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
        assert [name for name in kept if re.search(r"microsoft|onnxruntime|telemetry|intel|openvino|/great_expectations", name, re.I)] == []


def test_every_stage_has_its_page_and_metrics(flow_run: dict[str, Any]) -> None:
    reports = flow_run["folder"] / "reports"
    pages = {path.relative_to(reports / "stages").with_suffix("").as_posix() for path in (reports / "stages").rglob("*.html")}
    assert pages == PAGES
    for page in PAGES:
        assert (reports / "stages" / f"{page}.md").stat().st_size > 100
    linked = set(re.findall(r'href="stages/([^"]+)\.html"', (reports / "index.html").read_text()))
    assert linked == PAGES
    for name in PAGES - {"report/report", "look/look", "teach/teacher"}:
        assert json.loads((reports / "metrics" / f"{name}.json").read_text())


def test_summary_holds_what_the_checks_read(flow_run: dict[str, Any]) -> None:
    summary = json.loads((flow_run["folder"] / "reports/summary.json").read_text())
    assert {"schema", "workload", "run", "baseline", "variants"} <= summary.keys()
    assert {"git", "params_sha256", "started", "seconds", "machine"} <= summary["run"].keys()
    rows = {row["variant"]: row for row in summary["variants"]}
    assert rows.keys() == set(DEPLOYED)
    promised = {"variant", "stage", "method", "source", "target", "quality", "drop", "flips", "size_bytes", "size_ratio", "parameters"}
    promised |= {"nonzero", "macs", "latency_ms", "speed_ratio", "speed_ratio_same_runtime", "noise_floor", "peak_memory_bytes"}
    promised |= {"energy_mj", "verdict", "reasons", "release"}
    for row in rows.values():
        assert promised <= row.keys()
        assert row["size_ratio"] == pytest.approx(summary["baseline"]["size_bytes"] / row["size_bytes"])
        assert row["verdict"] in {"accept", "reject", "inconclusive"}
        assert row["reasons"]
    assert rows["small-int8"]["size_bytes"] * 10 < summary["baseline"]["size_bytes"]
    assert rows["small-int8"]["verdict"] == "accept"


def test_accepted_releases_load_from_the_store(flow_run: dict[str, Any]) -> None:
    folder, env = flow_run["folder"], flow_run["env"]
    releases = json.loads((folder / "reports/releases.json").read_text())
    summary = json.loads((folder / "reports/summary.json").read_text())
    accepted = {f"{row['variant']}-{row['target']}": row["release"] for row in summary["variants"] if row["verdict"] == "accept"}
    assert releases.keys() == accepted.keys()
    assert all(releases[name].endswith(f"/releases/tabular/{identity}/") for name, identity in accepted.items())
    alias = "s3://slimline/releases/tabular/aliases/latest.json"
    table = folder / "data/prepared/test.arrow"
    command = ["slimline", "s3", "--", "slimline", "predict", alias, "--input", str(table), "--json"]
    told = sh(folder, *command, env=env)
    assert "malignant" in told
    assert "benign" in told


def test_dvc_sees_nothing_to_do_after_the_flow(flow_run: dict[str, Any]) -> None:
    told = sh(flow_run["folder"], sys.executable, "-m", "dvc", "repro", env=flow_run["env"])
    assert "Running stage" not in told
    assert "up to date" in told


def test_dvc_draws_the_plots_that_the_line_declares(flow_run: dict[str, Any]) -> None:
    told = json.loads(sh(flow_run["folder"], sys.executable, "-m", "dvc", "plots", "show", "--json", env=flow_run["env"]))
    assert set(told["data"]) == {"times smaller than the teacher", "times faster than the teacher, batch 1", "quality against size"}
    assert not told.get("errors")
    rows = [plot["content"]["data"]["values"] for plots in told["data"].values() for plot in plots]
    assert all(row for row in rows)


def test_a_run_with_nothing_to_do_needs_no_prefect(flow_run: dict[str, Any]) -> None:
    folder = flow_run["folder"]
    before = {path: path.stat().st_mtime_ns for path in (folder / ".slimline/logs").iterdir()}
    told = sh(folder, "slimline", "run", "--json", env=flow_run["env"])
    assert "all up to date, and what passed is released: nothing to do" in told
    found = json.loads(told[told.index("{\n") : told.index("\n}") + 2])
    assert set(found["stages"].values()) == {"Cached"}
    assert found["releases"] == json.loads((folder / "reports/releases.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_runs_are_remembered_and_held_against_each_other(flow_run: dict[str, Any]) -> None:
    """Two runs by now, and the second had nothing to do: it is no other night."""
    folder = flow_run["folder"]
    told = sh(folder, "slimline", "s3", "--", "slimline", "history", "--json", env=flow_run["env"])
    events = json.loads(told[told.index("[") : told.rindex("]") + 1])
    assert {one["event"] for one in events} >= {"released", "publish"}
    assert [one["why"] for one in events if one["event"] in ("worse", "better", "moved", "verdict")] == []
    assert "1 run of tabular" in (folder / "reports/history/nights.html").read_text()


@pytest.mark.slow
def test_a_damaged_compiled_file_is_made_again_before_it_is_published(flow_run: dict[str, Any]) -> None:
    """The flipped bit is in the workspace and in DVC's cache, under the file's own times, and the store is a new one."""
    folder = flow_run["folder"]
    releases = (folder / "reports/releases.json").read_bytes()
    compiled = max((folder / "data/compiled/small-int8-onnxruntime").iterdir(), key=lambda path: path.stat().st_size)
    whole = compiled.read_bytes()
    object_ = folder / ".dvc/cache/files/md5" / hashlib.md5(whole).hexdigest()[:2] / hashlib.md5(whole).hexdigest()[2:]
    for path in {path.stat().st_ino: path for path in (compiled, object_)}.values():
        about = path.stat()
        path.chmod(0o644)
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        path.chmod(about.st_mode & 0o777)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    shutil.rmtree(folder / ".slimline/s3")
    told = sh(folder, "slimline", "run", env=flow_run["env"])
    assert "nothing to do" not in told
    assert [line for line in told.splitlines() if line.startswith("healed: removed")] == [
        f"healed: removed {compiled.relative_to(folder)}: its bytes were damaged; it is restored or made again"
    ]
    assert compiled.read_bytes() == object_.read_bytes() == whole
    assert (folder / "reports/releases.json").read_bytes() == releases
    told = sh(folder, "slimline", "s3", "--", "slimline", "releases", "--json", env=flow_run["env"])
    assert all(release.rstrip("/").rpartition("/")[2] in told for release in json.loads(releases).values())


def artifacts(folder: Path) -> dict[str, bytes]:
    """Every byte that must not depend on the door or the clock."""
    kept = {}
    for below in (
        "data/prepared",
        "data/models",
        "data/taught",
        "data/calibration",
        "data/compiled",
        "data/evaluated",
        "reports/metrics",
        "reports/stages",
    ):
        for path in sorted((folder / below).rglob("*")):
            name = path.relative_to(folder).as_posix()
            timed = name.startswith(("reports/metrics/time", "reports/stages/time", "reports/stages/report"))
            if path.is_file() and not timed:
                kept[name] = path.read_bytes()
    return kept


@pytest.mark.slow
def test_both_doors_give_the_same_bytes(flow_run: dict[str, Any], dvc_run: dict[str, Any]) -> None:
    first, second = artifacts(flow_run["folder"]), artifacts(dvc_run["folder"])
    assert len(first) > 50
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_another_kind_of_machine_dirties_the_times_alone(done: dict[str, Any]) -> None:
    folder, env = done["folder"], done["env"]
    machine, lock = folder / "data/machine.json", folder / "dvc.lock"
    own, locked = machine.read_text(), lock.read_text()
    machine.write_text(own.replace('"cores": ', '"cores": 9'))
    sh(folder, sys.executable, "-m", "dvc", "commit", "-f", "machine", env=env)
    told = sh(folder, sys.executable, "-m", "dvc", "status", "--json", env=env)
    dirty = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
    machine.write_text(own)
    lock.write_text(locked)
    assert set(dirty) == {"time@onnxruntime"}


@pytest.mark.slow
def test_a_changed_variant_is_looked_at_and_undoes_no_teacher(done: dict[str, Any]) -> None:
    folder, env = done["folder"], done["env"]
    params = folder / "params.yaml"
    own = params.read_text()
    params.write_text(own.replace("method: svd, rank: 16", "method: svd, rank: 15"))
    nodes = read_dag(folder).nodes
    assert {name for name, node in nodes.items() if not node.clean} == {"look", "factorize@svd", "report"}
    told = sh(folder, sys.executable, "-m", "dvc", "repro", "teacher", env=env)
    assert told.count("Running stage") == 1
    assert "Running stage 'look'" in told
    params.write_text(own)
    assert "Running stage" not in sh(folder, sys.executable, "-m", "dvc", "repro", "teacher", env=env)


@pytest.mark.slow
def test_check_deep_tries_a_variant_that_cannot_work_and_exits_with_2(done: dict[str, Any]) -> None:
    folder, env = done["folder"], done["env"]
    params = folder / "params.yaml"
    own = params.read_text()
    params.write_text(own.replace("prune:\n", "prune:\n  heads50: {source: teacher, method: heads, fraction: 0.5}\n"))
    told = sh(folder, "slimline", "check", "--deep", "--json", env=env, code=2)
    params.write_text(own)
    found = json.loads(told[told.index("{") : told.rindex("}") + 1])
    (problem,) = found["problems"]
    assert problem.startswith("params.yaml: prune.heads50: heads found no attention in this model")
    outcomes = {trial["what"]: trial["outcome"] for trial in found["tried"]}
    assert outcomes.pop("prune.heads50") == "refused"
    assert outcomes.keys() >= {"quantize.small-int8", "distill.small", "deploy.targets.onnxruntime (teacher)"}
    assert set(outcomes.values()) == {"works"}


@pytest.mark.slow
def test_a_changed_gate_runs_the_report_alone(done: dict[str, Any]) -> None:
    folder, env = done["folder"], done["env"]
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("min_size_ratio: 1.5", "min_size_ratio: 1000"))
    told = sh(folder, sys.executable, "-m", "dvc", "repro", env=env)
    assert told.count("Running stage") == 1
    assert "Running stage 'report'" in told
    verdicts = {row["verdict"] for row in json.loads((folder / "reports/summary.json").read_text())["variants"]}
    assert verdicts == {"reject"}


@pytest.mark.slow
def test_publishing_when_nothing_passed_exits_with_3(done: dict[str, Any]) -> None:
    told = sh(done["folder"], sys.executable, "-m", "tasks.publish", env=done["env"], code=3)
    assert len([line for line in told.splitlines() if line.startswith("error:")]) == 1


@pytest.mark.slow
def test_a_failing_stage_leaves_nothing_half_written(done: dict[str, Any]) -> None:
    folder, env = done["folder"], done["env"]
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("test_fraction: 0.4", "test_fraction: 0.9"))
    told = sh(folder, sys.executable, "-m", "dvc", "repro", "data", env=env, code=None)
    assert "make the fractions smaller" in told
    assert not (folder / "data/prepared").exists()
    assert [path.name for path in (folder / "data").iterdir() if path.name.startswith(".")] == []
