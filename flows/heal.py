"""Repairs what a kill -9 at a bad moment leaves: torn DVC files, locks of dead processes, unfinished drafts, abandoned clones.

DVC rewrites `.dvc/tmp/rwlock` and `dvc.lock` in place; once one of them is torn, every later DVC command fails for ever.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from flows.lock import CLONE_LOCK, clone_lock
from slimline.artifact.folder import write_text
from slimline.errors import BusyError, InputError
from slimline.params.yaml_file import read_yaml
from slimline.storage.state_file import DAMAGED, set_aside, state_folder_at

RUNS = Path(".dvc/tmp/runs")
GOOD = Path(".dvc/tmp/dvc.lock.good")
OTHERS_SECONDS = 15.0
_DRAFT = re.compile(r"\.[a-z0-9_]{8}")


def heal(root: Path) -> tuple[str, ...]:
    """Repair the workspace under DVC's own lock and say what was done, one line each."""
    from dvc.lock import Lock

    state_folder_at(root / ".dvc/tmp")
    for path in (*(root / ".dvc/tmp" / name for name in ("lock", "rwlock", "rwlock.lock")), root / GOOD, root / "dvc.lock"):
        if path.is_dir():
            set_aside(path)
    with Lock(str(root / ".dvc/tmp/lock"), wait=True):
        done = _heal_rwlock(root / ".dvc/tmp/rwlock")
        done += _heal_dvc_lock(root)
    return tuple(done)


def wait_for_others(root: Path, seconds: float = OTHERS_SECONDS) -> None:
    """Give DVC commands that still work here time to end: those of a run that was just killed do so by themselves.

    Raises:
        BusyError: one goes on; the message names it.
    """
    deadline = time.monotonic() + seconds
    while holders := _holders(root / ".dvc/tmp/rwlock"):
        pid, command = min(holders)
        if time.monotonic() > deadline:
            raise BusyError(f"{root}: process {pid} ({command}) works in this workspace; wait for it, or stop it: kill {pid}")
        time.sleep(0.5)


def _holders(path: Path) -> set[tuple[int, str]]:
    """The living processes that hold DVC's locks of paths. A torn file names nobody."""
    try:
        kept, _ = _living(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, *DAMAGED):
        return set()
    infos = [*kept.get("write", {}).values(), *(info for readers in kept.get("read", {}).values() for info in readers)]
    return {(int(info["pid"]), " ".join(["dvc", *str(info["cmd"]).split()[1:]])) for info in infos}


def heal_runs(project: Path) -> tuple[str, ...]:
    """Remove clones whose run is gone, and the locks of clones that are gone already."""
    runs = project / RUNS
    clones = {path for path in runs.glob("*") if path.is_dir() and not path.is_symlink()}
    clones |= {path.with_name(path.name.removesuffix(CLONE_LOCK)) for path in runs.glob(f"*{CLONE_LOCK}") if path.is_file()}
    removed = [folder.relative_to(project) for folder in sorted(clones) if _removed_if_free(folder)]
    return tuple(f"removed {folder}, the clone of a run that was killed" for folder in removed)


def _removed_if_free(clone: Path) -> bool:
    """Whether there was a clone that nobody holds; its lock, taken for the removal, goes with it."""
    try:
        with clone_lock(clone, wait_s=0):
            was_there = clone.is_dir()
            shutil.rmtree(clone, ignore_errors=True)
            return was_there
    except BusyError:
        return False


def snapshot(root: Path) -> None:
    """Keep a copy of dvc.lock after a run, to restore it from."""
    lock = root / "dvc.lock"
    if is_dvc_lock(lock):
        write_text(root / GOOD, lock.read_text(encoding="utf-8"))


def _heal_rwlock(path: Path) -> list[str]:
    """Drop the entries of dead processes."""
    if not path.exists():
        return []
    try:
        kept, dropped = _living(json.loads(path.read_text(encoding="utf-8")))
    except DAMAGED:
        write_text(path, "{}")
        return ["replaced .dvc/tmp/rwlock, which was torn by a killed process"]
    if dropped:
        write_text(path, json.dumps(kept))
    return [f"dropped {dropped} locks of dead processes from .dvc/tmp/rwlock"] if dropped else []


def _living(locks: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], int]:
    if set(locks) - {"read", "write"}:
        raise ValueError("DVC would refuse it")
    readers = {path: [info for info in infos if _holds(info)] for path, infos in locks.get("read", {}).items()}
    writers = {path: info for path, info in locks.get("write", {}).items() if info and _holds(info)}
    before = sum(map(len, locks.get("read", {}).values())) + sum(map(bool, locks.get("write", {}).values()))
    kept = {"read": {path: infos for path, infos in readers.items() if infos}, "write": writers}
    return {mode: entries for mode, entries in kept.items() if entries}, before - sum(map(len, readers.values())) - len(writers)


def _holds(info: dict[str, Any]) -> bool:
    """Whether the process that took the lock is still that process: a pid may have been given anew, say after a reboot."""
    try:
        command = set(" ".join(psutil.Process(int(info["pid"])).cmdline()).split())
    except psutil.Error:
        return False
    return set(str(info["cmd"]).split()[1:]) <= command


def is_dvc_lock(path: Path) -> bool:
    """Whether DVC would read it."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(path))
    except (FileNotFoundError, InputError, Invalid):
        return False
    return True


def _heal_dvc_lock(root: Path) -> list[str]:
    """Restore a torn dvc.lock from the last good one, else from git, else start anew (the run cache then restores the stages)."""
    lock = root / "dvc.lock"
    if not lock.exists() or is_dvc_lock(lock):
        return []
    if is_dvc_lock(root / GOOD):
        write_text(lock, (root / GOOD).read_text(encoding="utf-8"))
        return ["restored dvc.lock, which was torn, from the last run's copy"]
    committed = subprocess.run(["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True, text=True, check=False)
    if committed.returncode == 0:
        write_text(lock, committed.stdout)
        if is_dvc_lock(lock):
            return ["restored dvc.lock, which was torn, from the last commit"]
    lock.unlink()
    return ["removed dvc.lock, which was torn; stages come back from the run cache"]


def remove_drafts(root: Path, outs: Iterable[str]) -> tuple[str, ...]:
    """Remove what a killed stage was writing under another name beside its outs (slimline.artifact.folder); files that git knows stay.

    While somebody is at work here, nothing is removed.
    """
    if _holders(root / ".dvc/tmp/rwlock"):
        return ()
    drafts = sorted(path for out in outs for path in _drafts(root / out))
    tracked = _tracked(root, drafts) if drafts else set()
    for path in drafts:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in tracked:
            path.unlink(missing_ok=True)
    return tuple(f"removed {path.relative_to(root)}, left unfinished by a killed stage" for path in drafts if path not in tracked)


def _drafts(out: Path) -> Iterator[Path]:
    return (path for path in out.parent.glob(f".{out.name}.*") if _DRAFT.fullmatch(path.name.removeprefix(f".{out.name}")))


def _tracked(root: Path, paths: list[Path]) -> set[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "--", *map(str, paths)], cwd=root, capture_output=True, text=True, check=False)
    return {root / name for name in listed.stdout.split("\0") if name}
