"""What of a working tree its last commit does not hold: two that differ never look alike."""

import subprocess
from pathlib import Path

import pytest

from slimline.report.provenance import run_facts
from slimline.report.working_tree import uncommitted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads/mine.py").write_text("A = 1\n")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    (tmp_path / ".gitignore").write_text("/data/\n__pycache__/\n")
    author = "git -c user.name=a -c user.email=a@example.org"
    subprocess.run(f"git init -q && git add -A && {author} commit -qm first", shell=True, cwd=tmp_path, check=True)
    return tmp_path


def changes_of(root: Path) -> str | None:
    facts = run_facts(root, "0" * 64)
    assert facts["git_dirty"] == (facts["git_changes"] is not None)
    changes: str | None = facts["git_changes"]
    return changes


def test_what_a_run_writes_and_its_parameters_are_no_change_of_the_code(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data/model.bin").write_bytes(b"1")
    for name in ("dvc.lock", "params.yaml", "workloads/.gitignore"):
        (root / name).write_text("changed: 1\n")
    (root / "workloads/mine.py").touch()
    assert changes_of(root) is None


def test_each_working_tree_has_its_own_checksum(root: Path) -> None:
    found = []
    mine, new = root / "workloads/mine.py", root / "workloads/new.py"
    for change in (
        lambda: mine.write_text("A = 2\n"),
        lambda: mine.write_text("A = 3\n"),
        lambda: new.write_text("B = 1\n"),
        lambda: new.write_text("B = 2\n"),
        lambda: new.chmod(0o755),
        lambda: new.rename(root / "workloads/other.py"),
        lambda: mine.unlink(),
    ):
        change()
        found.append(changes_of(root))
    assert None not in found
    assert len(set(found)) == len(found)
    assert set(uncommitted(root)) == {"workloads/mine.py", "workloads/other.py"}


def test_without_git_nothing_is_said(tmp_path: Path) -> None:
    assert run_facts(tmp_path, "0" * 64)["git"] is None
    assert changes_of(tmp_path) is None
