"""`slimline bisect` on a tiny project: a regression planted in a parameter, and one in the code, each beside a change that is harmless."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.flow.running import REPO, Project, sh

pytestmark = pytest.mark.slow

SLIMLINE = (sys.executable, "-c", "from slimline.cli import main; main()")
PARAMS, SKILL = "params/tiny.yaml", "tasks/skill.py"


@pytest.fixture(scope="module")
def project(tmp_path_factory, api):
    made = Project(tmp_path_factory.mktemp("bisect"), api)
    shutil.copytree(REPO / "tests/flow/tiny_bisect/tasks", made.root / "tasks", dirs_exist_ok=True)
    deps = "[tasks/dummy.py, tasks/judged.py, tasks/skill.py, data/models/p50]"
    report = f"cmd: python -m tasks.judged\n    deps: {deps}\n    params: [seed, prune]"
    dvc_yaml = (made.root / "dvc.yaml").read_text().partition("    cmd: python -m tasks.dummy report")
    outs = dvc_yaml[2].partition("    outs:")[2]
    (made.root / "dvc.yaml").write_text(f"{dvc_yaml[0]}    {report}\n    outs:{outs}")
    (made.root / "params").mkdir()
    shutil.copy(made.root / "params.yaml", made.root / PARAMS)
    shutil.copytree(REPO / "reports/templates", made.root / "reports/templates")
    sh("git", "add", "-f", "reports/templates", cwd=made.root, env=made.env)
    made.commit()
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def night(project, **changes):
    """A run after these files were changed: (what to replace, by what)."""
    for name, (before, after) in changes.items():
        path = project.root / {"params": PARAMS, "code": SKILL}[name]
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
    if changes:
        project.commit()
    code, outcome, shown = project.run("--isolated", "--params", PARAMS)
    assert code == 0, shown
    return outcome


def slimline(project, *arguments):
    return subprocess.run(
        [*SLIMLINE, *arguments], cwd=project.root, env=project.env, capture_output=True, text=True, check=False, timeout=300
    )


def remembered(project):
    """How many runs history tells of, as its page's title."""
    assert slimline(project, "history").returncode == 0
    return (project.root / "reports/history/nights.md").read_text().partition("\n")[0]


@pytest.fixture(scope="module")
def nights(project):
    """The names of three runs."""
    night(project)
    night(project, params=("ratio: 0.5", "ratio: 0.9"), code=("0.95", "0.9501"))
    night(project, params=("ratio: 0.9", "ratio: 0.501"), code=("0.9501", "0.75"))
    history = slimline(project, "history", "--json")
    assert history.returncode == 0, history.stderr
    told = json.loads(history.stdout)
    [later, earlier] = [one for one in told if one["event"] in ("worse", "better") and "accuracy" in one["why"]]
    assert later["was"] == earlier["release"]
    return earlier["was"], earlier["release"], later["release"]


@pytest.mark.parametrize(("place", "cause"), [(1, "parameters"), (2, "code")])
def test_a_planted_regression_is_put_down_to_what_it_comes_from(project, nights, place, cause):
    done = slimline(project, "bisect", nights[0], nights[place], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    [accuracy] = [one for one in found["findings"] if one["figure"] == "accuracy"]
    assert accuracy["cause"] == cause, accuracy
    assert len(accuracy["made_again"]) == 4
    assert accuracy["made_again"]["code of A, parameters of A"] == pytest.approx(accuracy["a"])
    assert accuracy["made_again"]["code of B, parameters of B"] == pytest.approx(accuracy["b"])
    assert "file tasks/skill.py" in found["differs"]
    assert any(one.startswith("parameter prune.p50.ratio: 0.5 to ") for one in found["differs"])
    assert len(project.executions()["teacher"]) == 1, "stages that the runs have in common are not made again"
    assert not (project.root / "data").exists()


def test_a_run_that_is_not_there_is_one_line(project, nights):
    done = slimline(project, "bisect", nights[0], "2020-01-01")
    assert done.returncode == 2
    assert "run '2020-01-01': not the name of one run" in done.stderr


def test_a_run_whose_report_came_from_the_cache_is_remembered_and_its_regression_told(project, nights):
    made = len(project.executions()["report"])
    night(project, code=("0.75", "0.99"))
    night(project, code=("0.99", "0.75"))
    assert len(project.executions()["report"]) == made + 1, "the second report is that of an earlier run"
    [worse, *_] = [one for one in json.loads(slimline(project, "history", "--json").stdout) if one["event"] == "worse"]
    assert worse["was"] not in nights
    assert worse["release"] not in nights, "it is a run of its own, not that which first made the report"
    assert "accuracy 0.7896 to 0.5496; code differs" in worse["why"]
    title = remembered(project)
    night(project)
    assert remembered(project) == title, "a run that repeats the last one adds nothing"


def test_code_that_was_not_committed_is_refused_and_not_taken_for_the_same(project, nights):
    path = project.root / SKILL
    clean = path.read_text()
    for skill in ("0.70", "0.60"):
        path.write_text(clean.replace("0.75", skill))
        code, _, shown = project.run("--params", PARAMS)
        assert code == 0, shown
    path.write_text(clean)
    [later, *_] = [one for one in json.loads(slimline(project, "history", "--json").stdout) if one["event"] == "worse"]
    assert "code differs" in later["why"]
    done = slimline(project, "bisect", later["was"], later["release"])
    assert done.returncode == 2
    assert "had changes that were not committed, or files that git did not know: its code cannot be had again" in done.stderr


def test_a_run_beside_itself_needs_no_run(project, nights):
    done = slimline(project, "bisect", nights[0], nights[0][:17])
    assert done.returncode == 0
    assert "nothing was run" in done.stdout
