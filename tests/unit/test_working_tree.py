"""Which code a run had: the commit, and a checksum of what was not committed."""

import os
import subprocess
from pathlib import Path

import pytest

from flows.carry import lend_teacher
from slimline.errors import SlimlineError
from slimline.report.provenance import run_facts
from slimline.report.working_tree import uncommitted

COMMITTED = {"workloads/digits.py": "A = 1\n", "params.yaml": "seed: 0\n", ".gitignore": "/data/\n/reports/\n__pycache__/\n"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write(tmp_path, COMMITTED)
    for command in ("init -q -b main", "add -A", "-c user.name=T -c user.email=t@example.org commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def changes(root: Path) -> str | None:
    facts = run_facts(root, "0" * 64)
    assert facts["git_dirty"] is (facts["git_changes"] is not None)
    found: str | None = facts["git_changes"]
    return found


@pytest.mark.parametrize("name", ["workloads/digits.py", "workloads/mine.py"])
def test_what_is_not_committed_has_a_checksum_of_its_content(tree: Path, name: str) -> None:
    assert changes(tree) is None
    write(tree, {name: "A = 2\n"})
    first = changes(tree)
    os.utime(tree / name, (1, 1))
    assert first is not None
    assert changes(tree) == first, "a file that was touched is the same file"
    write(tree, {name: "A = 3\n"})
    assert changes(tree) not in (None, first)
    write(tree, {name: "A = 2\n"})
    assert changes(tree) == first
    subprocess.run(["git", "add", "-A"], cwd=tree, check=True)
    assert changes(tree) == first, "what is staged is not committed"


def test_a_file_that_is_gone_and_one_that_became_a_program_are_changes(tree: Path) -> None:
    (tree / "workloads/digits.py").chmod(0o755)
    executable = changes(tree)
    (tree / "workloads/digits.py").unlink()
    assert None is not executable != changes(tree) is not None


def test_what_a_run_writes_and_what_has_its_own_checksum_is_no_change_of_the_code(tree: Path) -> None:
    written = ("data/models/p50", "reports/index.md", "dvc.lock", "params.yaml", "params/mine.yaml", ".slimline/x", "tasks/.gitignore")
    write(tree, dict.fromkeys((*written, "workloads/__pycache__/digits.pyc"), "anything"))
    assert changes(tree) is None


def test_a_repository_inside_the_project_counts_with_its_files(tree: Path) -> None:
    subprocess.run(["git", "init", "-q", "inner"], cwd=tree, check=True)
    write(tree, {"inner/own.py": "A = 1\n"})
    first = changes(tree)
    write(tree, {"inner/own.py": "A = 2\n"})
    assert None is not first != changes(tree) is not None


def test_what_is_lent_to_a_clone_is_no_change_of_it(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tmp_path_factory.mktemp("clones") / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", str(tree), str(clone)], check=True)
    write(tree, {"net/config.json": "{}"})
    lend_teacher(tree, clone, "hf:net")
    assert (clone / "net/config.json").is_file()
    assert changes(clone) is None


def test_a_project_in_a_folder_of_a_repository_is_not_changed_by_its_neighbours(tree: Path) -> None:
    write(tree, {"notes.txt": "anything"})
    assert changes(tree / "workloads") is None
    write(tree, {"workloads/mine.py": ""})
    assert uncommitted(tree / "workloads") == ("mine.py",)


def test_what_git_does_not_say_is_not_taken_for_clean(tree: Path) -> None:
    (tree / ".git/index").write_bytes(b"damaged")
    facts = run_facts(tree, "0" * 64)
    assert (facts["git_dirty"], facts["git_changes"]) == (True, None)
    with pytest.raises(SlimlineError, match="index"):
        uncommitted(tree)
