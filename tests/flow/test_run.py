"""`python -m flows.compress` on a tiny project of dummy stages, against a real Prefect server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import httpx
import psutil
import pytest

REPO = Path(__file__).parents[2]
TINY = Path(__file__).parent / "tiny"
STAGES = {"teacher", "prune@p50", "quantize@q8", "report"}


def clean_environment(folder):
    """No settings of the user's, of the real project's or of another test's."""
    names = ("PREFECT", "SLIMLINE", "DVC", "AWS", "GIT", "TINY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    (folder / "gitconfig").write_text("[user]\nname = Tester\nemail = tester@example.org\n")
    own = {f"DVC_{name}": str(folder / name.lower()) for name in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
    return {**kept, **own, "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"), "PYTHONPATH": str(REPO)}


def sh(*command, cwd, env):
    return subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout


def hear_interrupts():
    """A job that a shell put in the background ignores SIGINT, and so would everything that the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Project:
    """A copy of the tiny project in git and DVC, and how to run the flow in it."""

    def __init__(self, folder, api_url):
        self.folder, self.root = folder, folder / "project"
        self.control = folder / "control"
        self.control.mkdir()
        self.started = []
        self.env = clean_environment(folder) | {
            "PREFECT_API_URL": api_url,
            "TINY_LOG": str(folder / "log"),
            "TINY_CONTROL": str(self.control),
        }
        shutil.copytree(TINY, self.root, ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "gitignore.txt").rename(self.root / ".gitignore")
        (self.root / "dvc.yaml.txt").rename(self.root / "dvc.yaml")
        sh("git", "init", "-q", "-b", "main", cwd=self.root, env=self.env)
        self.dvc("init", "-q")
        self.dvc("config", "core.autostage", "false")
        self.dvc("remote", "add", "-q", "-d", "store", str(folder / "remote"))
        self.commit()

    def commit(self):
        sh("git", "add", "-A", cwd=self.root, env=self.env)
        sh("git", "commit", "-qm", "state", cwd=self.root, env=self.env)

    def dvc(self, *arguments):
        return sh(sys.executable, "-m", "dvc", *arguments, cwd=self.root, env=self.env)

    def hold(self, *stages):
        for stage in stages:
            (self.control / f"{stage}.hold").touch()

    def let_go(self):
        for held in self.control.glob("*.hold"):
            held.unlink()

    def fail(self, stage, code):
        (self.control / f"{stage}.fail").write_text(str(code))

    def start(self, *flags):
        command = [sys.executable, "-m", "flows.compress", "--json", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=self.root, env=self.env, text=True, preexec_fn=hear_interrupts, **pipes)
        self.started.append(process)
        return process

    def run(self, *flags):
        """(exit code, outcome or None, what the terminal showed)"""
        return self.end(self.start(*flags))

    def end(self, process):
        out, shown = process.communicate(timeout=120)
        return process.returncode, json.loads(out) if out.strip() else None, shown

    def executions(self):
        """{stage: [(start, end or None), …]}"""
        times = defaultdict(list)
        log = self.folder / "log"
        for line in log.read_text().splitlines() if log.exists() else ():
            stage, what, when, _ = line.split()
            if what == "start":
                times[stage].append([float(when), None])
            else:
                times[stage][-1][1] = float(when)
        return times

    def stage_pids(self, stage):
        return [int(line.split()[3]) for line in (self.folder / "log").read_text().splitlines() if line.startswith(f"{stage} start")]

    def wait_for(self, stage, seconds=60):
        deadline = time.monotonic() + seconds
        while not self.executions().get(stage):
            assert time.monotonic() < deadline, f"{stage} did not start"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A real Prefect API for all runs of this module."""
    from flows.server import free_port, server_command, wait_until_healthy

    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    env = clean_environment(folder) | {"PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(server_command(port), env=env, stdout=log, stderr=log)
    api_url = f"http://127.0.0.1:{port}/api"
    wait_until_healthy(api_url, server, folder / "log.txt")
    yield api_url
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture
def project(tmp_path, api):
    made = Project(tmp_path, api)
    yield made
    for process in made.started:  # a failed test may have left one; its stages end with it
        process.kill()
        process.wait()


def runs(pid):
    """Whether a process is there and has not ended; a zombie, which nobody has taken note of yet, has."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def latest_run(api):
    body = {"sort": "START_TIME_DESC", "limit": 1, "flow_runs": {}}
    return httpx.post(f"{api}/flow_runs/filter", json=body).json()[0]


def task_states(api, flow_run):
    found = httpx.post(f"{api}/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run["id"]]}}}).json()
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
    assert eventually(lambda: set(task_states(api, flow_run).values()) == {"Completed"})
    assert set(task_states(api, flow_run)) >= STAGES
    artifacts = httpx.post(f"{api}/artifacts/filter", json={"flow_runs": {"id": {"any_": [flow_run["id"]]}}}).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert by_key["report-quantize-q8"]["data"] == "# Page of q8\n"
    assert by_key["progress"]["data"] == 100.0
    assert json.loads(by_key["results"]["data"])[0]["verdict"] == "accept"
    logs = httpx.post(f"{api}/logs/filter", json={"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}}).json()
    assert "q8 works" in [line["message"] for line in logs]

    code, outcome, shown = project.run("--no-publish")
    assert (code, set(outcome["stages"].values())) == (0, {"Cached"}), shown
    assert len(project.executions()["teacher"]) == 1


def test_restores_from_the_cache(project):
    project.run("--no-publish", "--target", "teacher")
    (project.root / "dvc.lock").unlink()
    shutil.rmtree(project.root / "data/models/teacher")
    code, outcome, _ = project.run("--no-publish", "--target", "teacher")
    assert (code, outcome["stages"]) == (0, {"teacher": "Restored"})
    assert len(project.executions()["teacher"]) == 1


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


def test_a_failed_variant_does_not_cost_the_report_of_the_others(project):
    judged(project)
    project.fail("p50", 1)
    code, outcome, shown = project.run()
    assert code == 1, shown
    assert outcome["stages"]["report"] == "NotReady"
    assert outcome["failures"] == {"prune@p50": 1}
    assert outcome["message"].endswith("failed: prune@p50; the report shows what stands")
    missing = json.loads((project.root / "reports/summary.json").read_text())["missing"]
    assert missing == [{"variant": "p50", "target": "onnxruntime", "stage": "prune@p50", "reason": "the input of p50 is wrong"}]
    assert list(outcome["releases"]) == ["q8-onnxruntime"]
    (project.control / "p50.fail").unlink()
    code, outcome, shown = project.run("--no-publish")
    assert (code, outcome["stages"]["report"], outcome["failures"]) == (0, "Completed", {}), shown
    assert "missing" not in json.loads((project.root / "reports/summary.json").read_text())


def test_no_report_where_nothing_stands(project):
    judged(project)
    project.fail("teacher", 1)
    code, outcome, _ = project.run()
    assert (code, outcome["accepted"], outcome["failures"]) == (1, None, {"teacher": 1})
    assert not (project.root / "reports/summary.json").exists()


def test_fail_fast_starts_nothing_more(project):
    project.fail("teacher", 1)
    code, outcome, _ = project.run("--no-publish", "--fail-fast")
    assert code == 1
    assert set(project.executions()) == {"teacher"}
    assert outcome["failures"] == {"teacher": 1}


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
    leftovers = [p for p in psutil.process_iter(["cmdline"]) if str(project.root) in " ".join(p.info["cmdline"] or ())]
    assert leftovers == []


def test_overrides_run_in_a_clone_saved_as_an_experiment(project):
    project.run("--no-publish")
    project.commit()
    before = {path: path.read_bytes() for path in (project.root / "params.yaml", project.root / "dvc.lock")}
    code, outcome, shown = project.run("--no-publish", "--set", "prune.p50.ratio=0.61", "--set", "seed=99")
    assert code == 3, shown
    assert outcome["stages"] == {"teacher": "Cached", "quantize@q8": "Cached", "prune@p50": "Completed", "report": "Completed"}
    assert sh("git", "status", "--porcelain", cwd=project.root, env=project.env) == ""
    assert {path: path.read_bytes() for path in before} == before
    assert list((project.root / ".dvc/tmp/runs").iterdir()) == []
    assert outcome["experiment"] in project.dvc("exp", "list")
    project.dvc("exp", "apply", outcome["experiment"])
    assert "0.61" in (project.root / "params.yaml").read_text()
    assert "Data and pipelines are up to date" in project.dvc("status")


def test_uncommitted_changes_are_carried_into_the_clone(project):
    params = project.root / "params.yaml"
    params.write_text(params.read_text().replace("  q8: {source", "  q4: {source").replace("p50, q8]", "p50]"))
    dvc = project.root / "dvc.yaml"
    dvc.write_text(dvc.read_text().replace("data/models/q8]", "data/models/q4]"))
    code, outcome, shown = project.run("--no-publish", "--set", "prune.p50.ratio=0.7")
    assert code == 0, shown
    assert "quantize@q4" in outcome["stages"]
    assert "ratio: 0.5" in params.read_text()


def test_killed_flow_leaves_no_stage_and_the_next_run_recovers(project):
    project.hold("p50", "q8")
    flow = project.start("--no-publish", "--jobs", "2")
    project.wait_for("p50")
    project.wait_for("q8")
    pids = project.stage_pids("p50") + project.stage_pids("q8")
    flow.kill()
    flow.wait()
    assert eventually(lambda: not any(map(runs, pids)), seconds=20), "a stage outlived its flow"
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_flow_ends_its_stages_in_order(project, number):
    project.hold("p50", "q8")
    (project.control / "p50.slow").touch()
    flow = project.start("--no-publish")
    project.wait_for("p50")
    began = time.monotonic()
    flow.send_signal(number)
    flow.communicate(timeout=30)
    assert flow.returncode != 0
    assert time.monotonic() - began < 20
    assert not any(map(runs, project.stage_pids("p50")))
    assert json.loads((project.root / ".dvc/tmp/rwlock").read_text() or "{}") in ({}, {"read": {}, "write": {}})
    assert [len(runs) for runs in project.executions().values()].count(2) == 0, "a stopped stage was retried"


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
