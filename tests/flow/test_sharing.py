"""`--share`: two clones on one real store make each stage once; a store that is gone costs the sharing alone."""

import pytest

from slimline.params import PublishParams
from slimline.storage.server import store_environment
from tests.flow.running import sharing_project

pytestmark = pytest.mark.slow


def test_two_clones_that_begin_at_once_make_each_stage_once(tmp_path, api):
    with store_environment(tmp_path, PublishParams()) as store:
        clones = [sharing_project(tmp_path / name, api, dict(store)) for name in ("a", "b")]
        running = [clone.start("--no-publish", "--share") for clone in clones]
        ended = [clone.end(process) for clone, process in zip(clones, running, strict=True)]
        later = sharing_project(tmp_path / "later", api, dict(store))
        code, outcome, shown = later.run("--no-publish", "--share", "--target", "teacher")
    assert [code for code, _, _ in ended] == [0, 0], ended
    executed = [stage for clone in clones for stage in clone.executions()]
    assert sorted(executed) == sorted(set(executed))
    for clone in clones:
        assert "didn't change" in clone.dvc("repro")
    assert (code, outcome["stages"]) == (0, {"teacher": "Restored"}), shown
    assert len(list((later.root / ".dvc/cache/runs").glob("*/*"))) == 1, "of all that is known, what this stage needs"


def test_a_run_that_is_saved_as_an_experiment_takes_what_another_made(tmp_path, api):
    """Such a run, and each of a night, is in a clone within the project's folder."""
    with store_environment(tmp_path, PublishParams()) as store:
        first, second = (sharing_project(tmp_path / name, api, dict(store)) for name in ("a", "b"))
        asked = ("--no-publish", "--share", "--set", "seed=3")
        code, made, shown = first.run(*asked)
        assert (code, set(made["stages"].values())) == (0, {"Completed"}), shown
        code, taken, shown = second.run(*asked)
    assert (code, set(taken["stages"].values())) == (0, {"Restored"}), shown
    assert "not shared" not in shown


def test_a_store_that_is_gone_costs_the_sharing_alone(tmp_path, api):
    gone = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "x"}
    project = sharing_project(tmp_path / "alone", api, gone)
    code, outcome, shown = project.run("--no-publish", "--share")
    assert code == 0, shown
    assert set(outcome["stages"].values()) == {"Completed"}
    assert "is not shared: " in shown
