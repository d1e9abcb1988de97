"""`python -m flows.compress` on a tiny project of dummy stages, against a real Prefect server."""

import json
import os
import shutil
import signal
import time

import pytest

from tests.flow.prefect_api import API
from tests.flow.running import SLIMLINE_RUN, Project, runs, sh
from tests.waiting import eventually

NEW = ["tasks/dummy.py", "data/own.safetensors", "workload.py", "own-data/table-é.csv"]
TEACHER = "python -m tasks.dummy teacher 0.2"
STAGES = {"teacher", "prune@p50", "quantize@q8", "report"}


@pytest.fixture
def project(tmp_path, api):
    made = Project(tmp_path, api)
    yield made
    for process in made.started:  # a failed test may have left one; its stages end with it
        process.kill()
        process.wait()


def latest_run(api):
    """The one that began last; what a schedule of another test only plans has not begun."""
    body = {"sort": "START_TIME_DESC", "limit": 1, "flow_runs": {"start_time": {"is_null_": False}}}
    return API.post(f"{api}/flow_runs/filter", json=body).json()[0]


def task_states(api, flow_run):
    found = API.post(f"{api}/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run["id"]]}}}).json()
    return {task["name"]: task["state_name"] for task in found}


def test_runs_everything_then_nothing(project, api):
    project.hold("p50", "q8")
    process = project.start("--no-publish", "--jobs", "2")
    project.wait_for("p50")
    project.wait_for("q8")  # with jobs=1, or without overlap, this would wait in vain
    project.let_go()
    code, outcome, shown = project.end(process)
    assert (code, set(outcome["stages"].values()), set(outcome["stages"])) == (0, {"Completed"}, STAGES), shown
    times = {stage: runs[0] for stage, runs in project.executions().items()}
    assert times["teacher"][1] <= min(times["p50"][0], times["q8"][0])
    assert times["report"][0] >= max(times["p50"][1], times["q8"][1])
    assert "didn't change" in project.dvc("repro")
    flow_run = latest_run(api)
    assert flow_run["state_type"] == "COMPLETED"
    assert eventually(lambda: set(task_states(api, flow_run).values()) == {"Completed"}, 15)
    assert set(task_states(api, flow_run)) >= STAGES
    artifacts = API.post(f"{api}/artifacts/filter", json={"flow_runs": {"id": {"any_": [flow_run["id"]]}}}).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert by_key["report-quantize-q8"]["data"] == "# Page of q8\n"
    assert by_key["progress"]["data"] == 100.0
    assert json.loads(by_key["results"]["data"])[0]["verdict"] == "accept"
    logs = API.post(f"{api}/logs/filter", json={"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}}).json()
    assert "q8 works" in [line["message"] for line in logs]

    code, outcome, shown = project.run("--no-publish")
    assert (code, set(outcome["stages"].values())) == (0, {"Cached"}), shown
    assert len(project.executions()["teacher"]) == 1


@pytest.mark.slow
def test_restores_from_the_cache(project):
    project.run("--no-publish", "--target", "teacher")
    (project.root / "dvc.lock").unlink()
    shutil.rmtree(project.root / "data/models/teacher")
    code, outcome, _ = project.run("--no-publish", "--target", "teacher")
    assert (code, outcome["stages"]) == (0, {"teacher": "Restored"})
    assert len(project.executions()["teacher"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("stage_code", "exit_code", "tries"), [(2, 2, 1), (1, 1, 1), (-9, 1, 2)])
def test_a_failed_stage_takes_only_its_descendants(project, stage_code, exit_code, tries):
    project.fail("q8", stage_code)
    code, outcome, shown = project.run("--no-publish")
    assert code == outcome["exit_code"] == exit_code, shown
    assert outcome["stages"] == {"teacher": "Completed", "prune@p50": "Completed", "quantize@q8": "Failed", "report": "NotReady"}
    assert len(project.executions()["q8"]) == tries
    if stage_code != 2:
        return
    (project.control / "q8.fail").unlink()
    code, outcome, _ = project.run("--no-publish", "--target", "quantize@*")
    assert (code, outcome["stages"]) == (0, {"teacher": "Cached", "quantize@q8": "Completed"})


def judged(project):
    """Every deployed variant of the tiny line gets a stage that judges it, and the report needs them all."""
    dvc = project.root / "dvc.yaml"
    line, report = dvc.read_text().split("  report:\n")
    evaluate = """  evaluate:
    matrix: {variant: "${deploy.variants}", target: "${deploy.targets}"}
    cmd: python -m tasks.dummy ${item.variant}-${item.target} 0.1
    deps: [tasks/dummy.py, "data/models/${item.variant}"]
    outs: ["data/models/${item.variant}-${item.target}", "reports/stages/${item.variant}-${item.target}"]
  report:
"""
    dvc.write_text(
        line
        + evaluate
        + report.replace(
            "data/models/p50, data/models/q8", ", ".join(f"data/models/{name}-onnxruntime" for name in ("teacher", "p50", "q8"))
        )
    )
    project.commit()


@pytest.mark.slow
def test_a_failed_variant_does_not_cost_the_report_of_the_others(project):
    judged(project)
    project.fail("p50", 1)
    code, outcome, shown = project.run()
    assert code == 1, shown
    assert outcome["stages"]["report"] == "NotReady"
    assert outcome["failures"] == {"prune@p50": 1}
    assert len(project.executions()["p50"]) == 1, "a stage that ended by itself was tried again"
    assert outcome["message"].endswith("failed: prune@p50; the report shows what stands")
    missing = json.loads((project.root / "reports/summary.json").read_text())["missing"]
    assert missing == [{"variant": "p50", "target": "onnxruntime", "stage": "prune@p50", "reason": "the input of p50 is wrong"}]
    assert list(outcome["releases"]) == ["q8-onnxruntime"]
    (project.control / "p50.fail").unlink()
    code, outcome, shown = project.run("--no-publish")
    assert (code, outcome["stages"]["report"], outcome["failures"]) == (0, "Completed", {}), shown
    assert "missing" not in json.loads((project.root / "reports/summary.json").read_text())


@pytest.mark.slow
def test_no_report_where_nothing_stands(project):
    judged(project)
    project.fail("teacher", 1)
    code, outcome, _ = project.run()
    assert (code, outcome["accepted"], outcome["failures"]) == (1, None, {"teacher": 1})
    assert not (project.root / "reports/summary.json").exists()


@pytest.mark.slow
def test_fail_fast_starts_nothing_more(project):
    project.fail("teacher", 1)
    code, outcome, _ = project.run("--no-publish", "--fail-fast")
    assert code == 1
    assert set(project.executions()) == {"teacher"}
    assert outcome["failures"] == {"teacher": 1}


@pytest.mark.slow
def test_wrong_input_is_refused_before_anything_runs(project):
    params = project.root / "params.yaml"
    good = params.read_text()
    params.write_text(good.replace("ratio: 0.5", "ratoi: 0.5"))
    code, _, shown = project.run("--no-publish")
    assert code == 2
    assert "ratoi" in shown
    params.write_text(good)
    code, _, shown = project.run("--no-publish", "--target", "prune@nope")
    assert code == 2
    assert "prune@nope" in shown
    assert "prune@p50" in shown
    for override in ("prune.p50.ratoi=0.6", "prunee.p50.ratio=0.6", "nonsense"):
        code, _, shown = project.run("--no-publish", "--set", override)
        assert code == 2
        assert override.split("=")[0].split(".")[0] in shown
    assert project.executions() == {}


def test_publishes_what_passed_and_pushes(project):
    code, outcome, shown = project.run("--jobs", "2")
    assert code == 0, shown
    assert outcome["releases"]["q8-onnxruntime"].startswith("http://127.0.0.1:")
    assert (project.folder / "remote/runs").is_dir()
    assert (project.folder / "remote/files").is_dir()
    assert project.processes() == []


@pytest.mark.slow
def test_overrides_run_in_a_clone_saved_as_an_experiment(project):
    project.run("--no-publish")
    project.commit()
    before = {path: path.read_bytes() for path in (project.root / "params.yaml", project.root / "dvc.lock")}
    sh("git", "init", "-q", "--bare", str(project.folder / "team.git"), cwd=project.root, env=project.env)
    sh("git", "remote", "add", "team", str(project.folder / "team.git"), cwd=project.root, env=project.env)
    project.env |= {"SLIMLINE_EXPERIMENTS": "team"}
    code, outcome, shown = project.run("--no-publish", "--set", "prune.p50.ratio=0.61", "--set", "seed=99")
    assert code == 3, shown
    assert outcome["stages"] == {"teacher": "Cached", "quantize@q8": "Cached", "prune@p50": "Completed", "report": "Completed"}
    assert sh("git", "status", "--porcelain", cwd=project.root, env=project.env) == ""
    assert {path: path.read_bytes() for path in before} == before
    assert list((project.root / ".dvc/tmp/runs").iterdir()) == []
    assert outcome["experiment"] in project.dvc("exp", "list")
    assert outcome["experiment"] in project.dvc("exp", "list", "team", "--all-commits")
    project.dvc("exp", "apply", outcome["experiment"])
    assert "0.61" in (project.root / "params.yaml").read_text()
    assert "Data and pipelines are up to date" in project.dvc("status")


@pytest.mark.slow
def test_a_clone_holds_what_the_working_tree_holds(project):
    params, dvc = (project.root / name for name in ("params.yaml", "dvc.yaml"))
    params.write_text(params.read_text().replace("  q8: {source", "  q4: {source").replace("p50, q8]", "p50]"))
    dvc.write_text(dvc.read_text().replace("data/models/q8]", "data/models/q4]").replace("deps: [tasks/dummy.py]", f"deps: {NEW}"))
    dvc.write_text(dvc.read_text().replace("python -m tasks.dummy teacher 0.2", f"cat {' '.join(NEW)} > /dev/null && {TEACHER}"))
    fetched = f'teacher: {{source: "file:data/own.safetensors", sha256: "{"0123456789" * 6}1e23"}}'
    params.write_text(params.read_text().replace("teacher: {source: train, epochs: 1}", fetched))
    for name in NEW:  # of these git knows the first, ignores the second, and has not seen the others
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).touch()
    code, outcome, shown = project.run("--no-publish", "--set", "prune.p50.ratio=0.7", "--set", "workload=digits")
    assert code == 0, shown
    assert set(outcome["stages"].values()) == {"Completed"}
    assert "quantize@q4" in outcome["stages"]
    assert "ratio: 0.5" in params.read_text()
    project.dvc("exp", "apply", outcome["experiment"])
    assert fetched in params.read_text(), "an override rewrote another value"


@pytest.mark.slow
def test_a_clone_of_a_tree_that_was_merely_touched(project):
    os.utime(project.root / "params.yaml", (0, 0))
    code, outcome, shown = project.run("--no-publish", "--target", "teacher", "--set", "seed=3")
    assert code == 0, shown
    assert (code, outcome["stages"]) == (0, {"teacher": "Completed"}), shown


@pytest.mark.slow
def test_killed_flow_leaves_no_stage_and_the_next_run_recovers(project):
    project.hold("p50", "q8")
    flow = project.start("--no-publish", "--jobs", "2", command=SLIMLINE_RUN)
    project.wait_for("p50")
    project.wait_for("q8")
    pids = project.stage_pids("p50") + project.stage_pids("q8")
    flow.kill()
    flow.wait()
    assert eventually(lambda: not any(map(runs, pids)), 20), "a stage outlived its flow"
    project.let_go()
    draft = project.root / "data/models/.p50.abcd_123"
    draft.mkdir()
    (project.root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  teacher:\n   cmd: 'python")
    (project.root / ".dvc/tmp/rwlock").write_text("")
    code, outcome, shown = project.run("--no-publish")
    assert code == 0, shown
    assert outcome["stages"]["teacher"] in {"Cached", "Restored"}
    assert not draft.exists()
    assert "Data and pipelines are up to date" in project.dvc("status")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_flow_ends_its_stages_in_order(project, number):
    project.hold("p50", "q8")
    (project.control / "p50.slow").touch()
    flow = project.start("--no-publish", command=SLIMLINE_RUN)
    project.wait_for("p50")
    began = time.monotonic()
    flow.send_signal(number)
    flow.communicate(timeout=30)
    assert flow.returncode == 128 + number
    assert time.monotonic() - began < 20
    assert not any(map(runs, project.stage_pids("p50")))
    assert json.loads((project.root / ".dvc/tmp/rwlock").read_text() or "{}") in ({}, {"read": {}, "write": {}})
    assert [len(runs) for runs in project.executions().values()].count(2) == 0, "a stopped stage was retried"


@pytest.mark.slow
def test_two_runs_in_one_workspace_exclude_each_other(project):
    project.hold("p50")
    first = project.start("--no-publish")
    project.wait_for("p50")
    code, _, shown = project.run("--no-publish")
    assert code == 1
    assert str(first.pid) in shown
    assert "holds this workspace" in shown
    project.let_go()
    code, outcome, shown = project.end(first)
    assert (code, outcome["exit_code"]) == (0, 0), shown
