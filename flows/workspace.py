"""A run in a clone of its own: shared cache, overridden params, saved as a DVC experiment; the user's working tree stays as it is.

A clone, not a worktree: worktrees share refs/stash, and `dvc exp save` in two of them at once loses.
"""

import configparser
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.heal import GOOD, RUNS
from slimline.commands.check import checked_params
from slimline.errors import InputError, SlimlineError
from slimline.params import Params


@dataclass(frozen=True)
class Workspace:
    """A folder to run in, and the name under which its results are saved."""

    folder: Path
    name: str


@contextmanager
def run_workspace(project: Path, name: str, cache: Path, overrides: Mapping[str, str], *, carry: bool) -> Iterator[Workspace]:
    """Clone the project's last commit (with `carry`: and its uncommitted changes of tracked files), and remove the clone afterwards.

    Raises:
        InputError: the project has no commit yet.
        ParamsError: the overrides are wrong.
    """
    folder = project / RUNS / name
    try:
        _clone(project, folder, carry=carry)
        _share_settings(project, folder, cache)
        _share_finished_stages(project, folder)
        override(folder / "params.yaml", overrides)
        _run(sys.executable, "-m", "dvc", "checkout", "-q", "--allow-missing", folder=folder)
        yield Workspace(folder, name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_experiment(project: Path, workspace: Workspace) -> str:
    """Save the clone as a DVC experiment of the project; `dvc exp show` lists it, `dvc exp apply` brings it in."""
    message = f"slimline run {workspace.name}"
    _run(sys.executable, "-m", "dvc", "exp", "save", "-f", "-n", workspace.name, "-m", message, folder=workspace.folder)
    ref = _run("git", "for-each-ref", "--format=%(refname)", f"refs/exps/**/{workspace.name}", folder=workspace.folder).strip()
    _run("git", "push", "-q", "--force", str(project), f"{ref}:{ref}", folder=workspace.folder)
    return workspace.name


def override(path: Path, overrides: Mapping[str, str]) -> None:
    """Write values into params.yaml and keep its comments and order; a value is read as YAML.

    Raises:
        ParamsError: the result is no valid params.yaml.
    """
    if not overrides:
        return
    from ruamel.yaml import YAML

    yaml = YAML()
    content = yaml.load(path.read_text(encoding="utf-8"))
    for key, value in overrides.items():
        _assign(content, key, YAML(typ="safe").load(value))
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)
    Params.load(path)


def check_overrides(project: Path, overrides: Mapping[str, str]) -> Params:
    """The params of a run, checked as `slimline check` does, before anything is started.

    Raises:
        ParamsError: params.yaml or an override is wrong; every mistake is named.
    """
    import yaml

    path = project / "params.yaml"
    params = checked_params(project)
    if not overrides:
        return params
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in overrides.items():
        _assign(content, key, _read_value(key, value))
    return Params.parse(content, origin="params.yaml with --set")


def _read_value(key: str, value: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--set {key}={value}: the value is no YAML; quote it") from None


def _assign(content: Any, key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for depth, section in enumerate(sections, start=1):
        inner = content.get(section) if isinstance(content, dict) else None
        if not isinstance(inner, dict):
            known = ", ".join(map(str, content)) if isinstance(content, dict) else "nothing"
            raise InputError(f"--set {key}: params.yaml has no section {'.'.join(sections[:depth])!r}; there are: {known}")
        content = inner
    content[leaf] = value


def _clone(project: Path, folder: Path, *, carry: bool) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD^{commit}"], cwd=project, capture_output=True, text=True, check=False)
    if head.returncode:
        raise InputError(f"{project}: a run in a clone starts from a commit and there is none; commit the project first")
    commit = head.stdout.strip()
    folder.parent.mkdir(parents=True, exist_ok=True)
    changes = _run("git", "stash", "create", folder=project).strip() if carry else ""
    _run("git", "clone", "-q", "--shared", "--no-checkout", str(project), str(folder), folder=project)
    _run("git", "checkout", "-q", "--detach", commit, folder=folder)
    if changes:
        _run("git", "read-tree", "-u", "--reset", changes, folder=folder)
        _run("git", "reset", "-q", folder=folder)


def _share_settings(project: Path, folder: Path, cache: Path) -> None:
    """The clone uses the project's cache, and its machine's own remotes (.dvc/config.local is not in git)."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(project / ".dvc/config.local", encoding="utf-8")
    if not config.has_section("cache"):
        config.add_section("cache")
    config["cache"]["dir"] = str(cache)
    with (folder / ".dvc/config.local").open("w", encoding="utf-8") as stream:
        config.write(stream)


def _share_finished_stages(project: Path, folder: Path) -> None:
    """The clone knows what the project has built, also where its dvc.lock is not committed: that much needs no stage process."""
    if (project / GOOD).is_file():
        shutil.copyfile(project / GOOD, folder / "dvc.lock")


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SlimlineError(f"{' '.join(command[-6:])}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout
