"""What tests of the flow share: a Prefect API, its database before anything is in it, and the tiny project after a run by DVC alone."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.flow.running import prefect_api
from tests.tiny_project import make_project

API = ExitStack()
"""Holds the Prefect API while it is up."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The API ends with this folder's last test, behind fixtures: idle, it would take a twentieth of a core until the end of all tests."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        API.close()


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
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a real Prefect API for all tests, and a copy of its database from before they used it."""
    home = tmp_path_factory.mktemp("prefect")
    with API:
        api_url = API.enter_context(prefect_api(home))
        with closing(sqlite3.connect(home / "prefect.db")) as used, closing(sqlite3.connect(home / "empty.db")) as empty:
            used.backup(empty)
        yield api_url, home / "empty.db"


@pytest.fixture(scope="session")
def api(prefect: tuple[str, Path]) -> str:
    """The address of a real Prefect API."""
    return prefect[0]


@pytest.fixture(scope="session")
def empty_database(prefect: tuple[str, Path]) -> Path:
    """A database of Prefect's without any run, which takes a server as long to make as to start."""
    return prefect[1]


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    made = Finished(*make_project(tmp_path_factory.mktemp("finished")))
    made.dvc("repro", "-q")
    return made


@pytest.fixture
def finished(finished_once: Finished, tmp_path: Path) -> Finished:
    root = shutil.copytree(finished_once.root, tmp_path / "project", symlinks=True)
    return Finished(Path(root), finished_once.env, finished_once.root)
