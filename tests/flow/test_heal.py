"""What the flow repairs before it runs, what it reads from DVC, and in which order it starts stages; no Prefect server needed."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.dag import Node, read_dag
from flows.heal import heal, heal_runs, remove_drafts, snapshot, wait_for_others
from flows.lock import clone_lock, workspace_lock
from flows.results import Outcome
from flows.schedule import startable
from flows.workspace import check_overrides, override, run_workspace
from slimline.artifact.folder import whole_folder
from slimline.errors import BusyError, InputError, ParamsError

TINY = Path(__file__).parent / "tiny"
LOCK = "schema: '2.0'\nstages:\n  teacher:\n    cmd: python -m tasks.dummy teacher 0.2\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The tiny project, committed, never run."""
    root = tmp_path_factory.mktemp("heal") / "project"
    shutil.copytree(TINY, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "gitignore.txt").rename(root / ".gitignore")
    (root / "dvc.yaml.txt").rename(root / "dvc.yaml")
    (root / "dvc.lock").write_text(LOCK)
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    subprocess.run(["git", *identity, "commit", "-qm", "tiny"], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def root(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "project"))


def test_the_dag_is_what_dvc_draws(root):
    drawn = subprocess.run([sys.executable, "-m", "dvc", "dag", "--dot"], cwd=root, check=True, capture_output=True, text=True).stdout
    edges = set(re.findall(r'"([^"]+)" -> "([^"]+)"', drawn))
    dag = read_dag(root)
    assert {(need, node.name) for node in dag.nodes.values() for need in node.needs} == edges
    assert set(dag.nodes) == {name for edge in edges for name in edge}
    assert dag.nodes["teacher"].depth == 3
    assert dag.nodes["prune@p50"].page == "reports/stages/p50/p50.md"
    assert dag.maker("reports/summary.json") == "report"
    assert dag.remote is None
    assert set(read_dag(root, ["quantize@*"]).nodes) == {"teacher", "quantize@q8"}


def test_a_pipeline_below_is_no_part_of_the_line(root):
    (root / "other").mkdir()
    (root / "other/dvc.yaml").write_text("stages:\n  foreign:\n    cmd: echo 1 > out\n    outs: [out]\n")
    assert set(read_dag(root).nodes) == {"teacher", "prune@p50", "quantize@q8", "report"}
    assert set(read_dag(root, ["*foreign"]).nodes) == {"other/dvc.yaml:foreign"}


def test_a_wrong_dvc_yaml_is_wrong_input(root):
    with pytest.raises(InputError, match=r"quantize@nope.*teacher"):
        read_dag(root, ["quantize@nope"])
    (root / "dvc.yaml").write_text((root / "dvc.yaml").read_text().replace("${item.source}", "${item.sauce}"))
    with pytest.raises(InputError, match=r"dvc\.yaml"):
        read_dag(root)


TORN = ("", "schema: '2.0'\nstages:\n  teacher:\n   cmd: 'pyth", "\0\0\0", "stages: {}", "schema: '2.0'\nstages: {teacher: 5}")


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_dvc_lock_comes_back(root, torn):
    lock = root / "dvc.lock"
    lock.write_text(torn)
    assert any("last commit" in line for line in heal(root))
    assert lock.read_text() == LOCK
    good = LOCK.replace("0.2", "0.3")
    lock.write_text(good)
    snapshot(root)
    lock.write_text(torn)
    assert any("last run" in line for line in heal(root))
    assert lock.read_text() == good
    assert heal(root) == ()


def test_locks_of_the_dead_go_and_those_of_the_living_stay(root):
    path = root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    started = "import time; print(flush=True); time.sleep(60)"
    living = subprocess.Popen([sys.executable, "-c", started, "repro", "teacher"], stdout=subprocess.PIPE)
    living.stdout.readline()  # while a process begins, its command line is empty
    mine = {"pid": living.pid, "cmd": "/somewhere/dvc repro teacher"}
    reused = {"pid": os.getpid(), "cmd": "/somewhere/dvc repro a-process-before-the-reboot"}
    path.write_text(json.dumps({"write": {"/a": {"pid": dead.pid, "cmd": "dvc repro"}, "/b": mine}, "read": {"/c": [reused, mine]}}))
    draft = root / "data/models/.p50.abcd_123"
    draft.mkdir(parents=True)
    try:
        assert heal(root) == ("dropped 2 locks of dead processes from .dvc/tmp/rwlock",)
        assert json.loads(path.read_text()) == {"read": {"/c": [mine]}, "write": {"/b": mine}}
        assert remove_drafts(root, ["data/models/p50"]) == ()
        assert draft.exists(), "a draft was removed while a stage was at work"
        with pytest.raises(BusyError, match=rf"process {living.pid} \(dvc repro teacher\) works in this workspace; wait for it"):
            wait_for_others(root, seconds=0)
    finally:
        living.kill()
        living.communicate()
    wait_for_others(root, seconds=0)
    path.write_text('{"write": {"/a": {"pi')
    assert any("torn" in line for line in heal(root))
    assert json.loads(path.read_text()) == {}


def test_drafts_of_killed_stages_go_and_nothing_else(root):
    with whole_folder(root / "data/models/p50") as draft:
        left = draft.with_name(draft.name[:-8] + "abcd_123")
        shutil.copytree(draft, left)
    page = root / "reports/metrics/prune/.p50.json.x1y2z3w_"
    own = ("data/.notes.markdown", "data/models/.mine.settings", "data/models/mine/.cache.database", "data/models/.p50.notes")
    kept = [root / "data/README.md", root / "data/models/.gitignore", root / "reports/stages/page.md", *(root / name for name in own)]
    for path in (page, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    assert len(remove_drafts(root, ["data/models/p50", "reports/metrics/prune/p50.json"])) == 2
    assert not page.exists()
    assert not left.exists()
    assert (root / "data/models/p50").is_dir()
    assert all(path.exists() for path in kept)


def test_abandoned_clones_go_and_those_at_work_stay(root):
    runs = root / ".dvc/tmp/runs"
    for name in ("dead", "dead-and-locked-once", "living"):
        (runs / name).mkdir(parents=True)
    for name in ("dead-and-locked-once.lock", "gone.lock"):
        (runs / name).touch()
    with clone_lock(runs / "living"):
        assert [line.split(",")[0] for line in heal_runs(root)] == [
            "removed .dvc/tmp/runs/dead",
            "removed .dvc/tmp/runs/dead-and-locked-once",
        ]
        assert sorted(path.name for path in runs.iterdir()) == ["living", "living.lock"]
    assert len(heal_runs(root)) == 1
    assert list(runs.iterdir()) == []


def test_a_clone_that_is_being_built_is_not_taken_for_abandoned(root):
    built, said = threading.Event(), []

    def others_start():
        while not built.is_set():
            said.extend(heal_runs(root))

    other = threading.Thread(target=others_start)
    other.start()
    try:
        with run_workspace(root, "mine", read_dag(root).cache, {"seed": "7"}, carry=True) as workspace:
            built.set()
            other.join()
            assert "seed: 7" in (workspace.folder / "params.yaml").read_text()
            assert heal_runs(root) == ()
            assert (workspace.folder / "dvc.lock").is_file()
    finally:
        built.set()
    assert said == []
    assert list((root / ".dvc/tmp/runs").iterdir()) == []


def test_a_lock_that_was_removed_before_it_was_taken_holds_nothing(root):
    folder, alive, most = root / ".dvc/tmp/runs/clone", [], []

    def work():
        for _ in range(50):
            with clone_lock(folder):
                alive.append(1)
                most.append(len(alive))
                alive.pop()

    working = [threading.Thread(target=work) for _ in range(4)]
    for one in working:
        one.start()
    for one in working:
        one.join()
    assert (len(most), max(most)) == (200, 1)


def test_a_clone_of_the_same_name_is_refused_and_stays(root):
    folder = root / ".dvc/tmp/runs/mine"
    with clone_lock(folder):
        folder.mkdir()
        with pytest.raises(BusyError, match=rf"another run holds this workspace: process {os.getpid()} "), clone_lock(folder, wait_s=0):
            pass
    assert folder.is_dir()


def test_the_lock_names_its_holder(root):
    with workspace_lock(root), pytest.raises(BusyError, match=rf"process {os.getpid()} .* kill {os.getpid()}"), workspace_lock(root):
        pass
    with workspace_lock(root):
        pass


def test_overrides_keep_comments_and_are_checked(root):
    path = root / "params.yaml"
    override(path, {"prune.p50.ratio": "0.6", "teacher.patience": "3"})
    assert "patience: 3" in path.read_text()
    assert "ratio: 0.6" in path.read_text()
    assert "# 99: the dummy" in path.read_text()
    assert check_overrides(root, {"seed": "7"}).seed == 7
    with pytest.raises(ParamsError, match="ratoi"):
        check_overrides(root, {"prune.p50.ratoi": "0.6"})
    with pytest.raises(InputError, match=r"no section 'prune\.p51'"):
        check_overrides(root, {"prune.p51.ratio": "0.6"})
    with pytest.raises(InputError, match=r"no section 'prunee"):
        check_overrides(root, {"prunee.p50.ratio": "0.6"})


def node(name, *needs, depth=1, clean=False, alone=False):
    return Node(name, needs, (), clean, depth, alone)


def test_the_longest_chain_starts_first_and_the_lone_stage_alone():
    nodes = {n.name: n for n in (node("short"), node("long", depth=3), node("next", "long"), node("timing", alone=True, depth=9))}
    assert [n.name for n in startable(nodes, {}, {}, 2)] == ["long", "short"]
    assert [n.name for n in startable(nodes, {}, {}, 4)] == ["long", "short"]
    only = {"timing": nodes["timing"]}
    assert [n.name for n in startable(only, {}, {}, 2)] == ["timing"]
    assert startable(only, {}, {"short": nodes["short"]}, 2) == []
    assert startable({"short": nodes["short"]}, {}, only, 2) == []


def test_exit_codes():
    def outcome(**more):
        return Outcome(reports=Path(), seconds=1.0, **more).exit_code

    row = {"verdict": "reject"}
    assert outcome(states={"a": "Completed"}) == 0
    assert outcome(states={"a": "Completed"}, summary={"variants": [row]}) == 3
    assert outcome(states={"a": "Cached"}, summary={"variants": [row, {"verdict": "accept"}]}) == 0
    assert outcome(states={"a": "Failed"}, failures={"a": 1}) == 1
    assert outcome(states={"a": "Failed"}, failures={"a": 1, "b": 2}) == 2
    assert outcome(states={"a": "NotReady"}) == 1


@pytest.mark.parametrize("body", ["{", "[1]", "7", '{"/a": {"write": {}, "read": []}}', '{"read": 3}'])
def test_a_rwlock_that_dvc_would_refuse_is_replaced(root, body):
    path = root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(body)
    assert heal(root) == ("replaced .dvc/tmp/rwlock, which was torn by a killed process",)
    assert path.read_text() == "{}"
