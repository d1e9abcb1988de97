"""`python -m flows.search` on a tiny project of dummy stages: stopped and called again, and what it leaves of the project."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from slimline.params import Params
from tests.flow.running import REPO, Project, sh

pytestmark = pytest.mark.slow

JOBS = 2
SEARCH = (sys.executable, "-m", "flows.search")


@pytest.fixture
def project(tmp_path, api):
    made = Project(tmp_path, api)
    own = REPO / "tests/flow/tiny_search"
    shutil.copy(own / "dvc.yaml.txt", made.root / "dvc.yaml")
    shutil.copy(own / "params.yaml", made.root)
    shutil.copy(own / "tasks/chain.py", made.root / "tasks")
    shutil.copytree(REPO / "reports/templates", made.root / "reports/templates")
    made.commit()
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def stages(project):
    """How often each stage ran to its end."""
    return {stage: sum(end is not None for _, end in runs) for stage, runs in project.executions().items()}


def test_a_search_that_is_stopped_goes_on_and_leaves_the_project_alone(project):
    process = project.start("--jobs", str(JOBS), command=SEARCH)
    deadline = time.monotonic() + 200
    while sum(name not in ("data", "teacher", "calibrate") for name in stages(project)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 143, shown
    assert "the next run goes on from here" in shown

    process = project.start("--jobs", str(JOBS), command=SEARCH)
    out, shown = process.communicate(timeout=500)
    assert process.returncode == 0, shown
    found = json.loads(out)
    assert found["counts"]["tried"] == 8
    assert found["counts"]["judged"] == 2
    again = [stage for stage, times in stages(project).items() if times > 1]
    assert len(again) <= JOBS, "what ran again is at most what DVC had not put away yet when it was stopped"
    assert {row["variant"] for row in found["judged"]} == {*found["accepted"], "by-hand"}
    assert {tuple(row["reasons"]) for row in found["judged"]} == {("together",)}, "the verdicts of the judged hold together"
    reasons = {chain["reason"] for chain in found["chains"] if chain["full"] is None and chain["brief"] is None}
    assert reasons <= {"magnitude: out of luck", "magnitude did not shrink"}
    assert reasons, "the first chains have every order, and magnitude cannot be made"
    best = max(
        (chain["full"] for chain in found["chains"] if chain["full"] and chain["full"]["drop"] <= 0.02), key=lambda full: full["size_ratio"]
    )
    assert any(chain["full"] == best and chain["variant"] in found["accepted"] for chain in found["chains"])

    assert sh("git", "status", "--porcelain", cwd=project.root, env=project.env) == ""
    assert not (project.root / "data").exists()
    folder = next((project.root / ".slimline/search").glob("*/search.html")).parent
    content, pasted = (yaml.safe_load(path.read_text()) for path in (project.root / "params.yaml", folder / "found.yaml"))
    content |= {section: {**content[section], **entries} for section, entries in pasted.items()}
    assert set(found["accepted"]) <= Params.parse(content).variants.keys()


def test_a_chain_that_was_killed_is_tried_again_by_the_next_call(project):
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    methods = {"int8": params["search"]["methods"]["int8"]}
    changed = params | {"search": {"methods": methods, "longest": 1, "trials": 1}}
    (project.root / "params.yaml").write_text(yaml.safe_dump(changed))
    (project.control / "quantize.fail").write_text("-9")
    done = subprocess.run(SEARCH, cwd=project.root, env=project.env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "call it again with more room" in " ".join(done.stderr.split())
    (project.control / "quantize.fail").unlink()
    done = subprocess.run(SEARCH, cwd=project.root, env=project.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accepted: int8-" in done.stdout


def test_what_is_wrong_is_said_before_anything_starts(project):
    shown = {}
    for change, said in (("search.trials=0", "search.trials"), ("search.methods.int8.method=nix", "unknown method 'nix'")):
        done = subprocess.run([*SEARCH, "--set", change], cwd=project.root, env=project.env, capture_output=True, text=True, check=False)
        shown[change] = done.stderr
        assert (done.returncode, said in done.stderr) == (2, True), shown
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(text[: text.index("search:")])
    done = subprocess.run(SEARCH, cwd=project.root, env=project.env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "search: missing" in done.stderr
    assert not project.executions()
