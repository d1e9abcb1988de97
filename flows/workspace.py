"""A run in a clone of its own: shared cache, overridden params, saved as a DVC experiment; the user's working tree stays as it is.

A clone, not a worktree: worktrees share refs/stash, and `dvc exp save` in two of them at once loses.
"""

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.carry import carry_changes, lend_teacher
from flows.heal import GOOD, RUNS, is_dvc_lock
from flows.lock import clone_lock
from slimline.commands.check import checked_params
from slimline.errors import InputError, SlimlineError
from slimline.params import Params
from slimline.params.files import USUAL, located
from slimline.params.overrides import with_overrides
from slimline.params.yaml_file import parse_yaml, yaml_text
from slimline.storage.url import refuse_secrets

HEAD = "HEAD"


@dataclass(frozen=True)
class State:
    """What a clone starts from: a commit, and the text of its params.yaml where that is not the commit's."""

    commit: str = HEAD
    params: str | None = None


COMMITTED = State()


@dataclass(frozen=True)
class Workspace:
    """A folder to run in, and the name under which its results are saved."""

    folder: Path
    name: str


@contextmanager
def run_workspace(
    project: Path, name: str, cache: Path, overrides: Mapping[str, str], *, carry: bool, file: str = USUAL, state: State = COMMITTED
) -> Iterator[Workspace]:
    """Clone the project's last commit (with `carry`: and what is not committed yet), hold it, and remove it afterwards.

    The clone's params.yaml is the params file `file`, or what `state` gives, with the overrides.

    Raises:
        InputError: the project has no such commit, or the commit has no such params file.
        ParamsError: the params file or the overrides are wrong.
        BusyError: another run works in a clone of this name.
    """
    folder = project / RUNS / name
    with clone_lock(folder):
        try:
            _build(project, folder, cache, overrides, carry=carry, file=file, state=state)
            yield Workspace(folder, name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _build(project: Path, folder: Path, cache: Path, overrides: Mapping[str, str], *, carry: bool, file: str, state: State) -> None:
    """The clone with its params.yaml, the project's cache and finished stages, and every output that is in the cache."""
    _clone(project, folder, state.commit, carry=carry)
    _share_settings(project, folder, cache)
    _share_finished_stages(project, folder)
    _place(folder, file, state.params)
    if overrides:
        override(folder / "params.yaml", overrides)
    params = Params.load(folder / "params.yaml")
    for source in (params.teacher.source, params.model.architecture):
        lend_teacher(project, folder, source)
    _run(sys.executable, "-m", "dvc", "checkout", "-q", "--allow-missing", folder=folder)


def save_experiment(project: Path, workspace: Workspace, stages: Sequence[str], remote: str | None = None) -> str:
    """Save the clone as a DVC experiment of the project; `dvc exp show` lists it, `dvc exp apply` brings it in.

    `stages` are those that ran, where not all did: the results of the others are not there. `remote` is the git remote that gets the
    experiment too: the project of a pod, or of a machine that others send runs to, is not where anybody looks.

    Raises:
        SlimlineError: what DVC or git said.
    """
    message = f"slimline run {workspace.name}"
    _run(sys.executable, "-m", "dvc", "exp", "save", "-f", "-n", workspace.name, "-m", message, *stages, folder=workspace.folder)
    ref = _run("git", "for-each-ref", "--format=%(refname)", f"refs/exps/**/{workspace.name}", folder=workspace.folder).strip()
    _run("git", "push", "-q", "--force", str(project), f"{ref}:{ref}", folder=workspace.folder)
    if remote:
        _run("git", "push", "-q", "--force", remote, f"{ref}:{ref}", folder=project)
    return workspace.name


def override(path: Path, overrides: Mapping[str, str]) -> None:
    """Write values into params.yaml; a value is read as YAML, and nothing else in the file changes.

    Raises:
        InputError: a value or its section is wrong.
        ParamsError: the result is no valid params.yaml.
    """
    path.write_text(with_overrides(yaml_text(path), overrides), encoding="utf-8")
    Params.load(path)


def check_overrides(project: Path, overrides: Mapping[str, str], given: str = USUAL, *, elsewhere: bool = False) -> Params:
    """The params of a run, checked as `slimline check` does, before anything is started; `elsewhere`: it is to run on another machine.

    Raises:
        InputError: there is no such params file.
        ParamsError: the params file or an override is wrong; every mistake is named.
        StorageRefused: the store's address holds a password, which Prefect's database would keep.
    """
    file = located(project, given)
    params = checked_params(project, file, elsewhere=elsewhere)
    if overrides:
        origin = f"{file} with --set"
        params = Params.parse(parse_yaml(with_overrides(yaml_text(project / file), overrides), origin), origin=origin, root=project)
    refuse_secrets(params.publish.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    return params


def _clone(project: Path, folder: Path, commit: str, *, carry: bool) -> None:
    command = ["git", "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}"]
    head = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if head.returncode:
        lacking = "there is none; commit the project first" if commit == HEAD else f"git has no {commit} here; git fetch it first"
        raise InputError(f"{project}: a run in a clone starts from a commit and {lacking}")
    commit = head.stdout.strip()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run("git", "clone", "-q", "--shared", "--no-checkout", str(project), str(folder), folder=project)
    _run("git", "checkout", "-q", "--detach", commit, folder=folder)
    if carry:
        carry_changes(project, folder)


def _place(folder: Path, file: str, text: str | None) -> None:
    """Make the clone's params.yaml what the run is to take."""
    if text is None and file != USUAL:
        if not (folder / file).is_file():
            raise InputError(f"{file}: not in the commit that the run works on; git add and commit it")
        text = yaml_text(folder / file)
    if text is not None:
        (folder / USUAL).write_text(text, encoding="utf-8")


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
    if is_dvc_lock(project / GOOD):
        shutil.copyfile(project / GOOD, folder / "dvc.lock")


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SlimlineError(f"{' '.join(command[-6:])}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout
