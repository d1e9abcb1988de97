"""The tiny project after a run by DVC alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_project import make_project


class Finished:
    """A copy of the tiny project whose every stage is up to date, how to call DVC in it, and the untouched `original`."""

    def __init__(self, root: Path, env: dict[str, str], original: Path | None = None) -> None:
        self.root, self.env, self.original = root, env, original or root

    def dvc(self, *arguments: str) -> str:
        """What DVC prints."""
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=self.root, env=self.env, check=True, capture_output=True, text=True).stdout

    def flip(self, path: str) -> None:
        """Change one bit and nothing else that a file system shows."""
        flip(self.root / path)


def flip(file: Path) -> None:
    """As a disk does: the same length, mode and time of change."""
    about = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))
    file.chmod(about.st_mode & 0o777)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    made = Finished(*make_project(tmp_path_factory.mktemp("finished")))
    made.dvc("repro", "-q")
    return made


@pytest.fixture
def finished(finished_once: Finished, tmp_path: Path) -> Finished:
    root = shutil.copytree(finished_once.root, tmp_path / "project", symlinks=True)
    return Finished(Path(root), finished_once.env, finished_once.root)
