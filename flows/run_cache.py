"""A stage's entries of DVC's run cache: the name they go by, and the way to the remote and from it.

DVC itself carries every entry whenever it carries one (dvc.stage.cache.StageCache.transfer): before each stage a request for each that was
ever computed. Names and places are DVC's: runs/<first two letters of the key>/<key>/<checksum of what was made>.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from slimline.errors import SlimlineError

_one_reads = threading.Lock()


def stage_key(root: Path, stage: str) -> str:
    """The name by which DVC's run cache knows a stage with what goes in now.

    Raises:
        SlimlineError: DVC knows no such stage, or something that it needs is not there.
    """
    from dvc.exceptions import DvcException
    from dvc.stage.cache import _get_stage_hash

    try:
        with _opened(root) as repo:
            found = next(one for one in repo.index.stages if getattr(one, "name", None) == stage)
            found.save_deps()
            return str(_get_stage_hash(found))
    except (DvcException, StopIteration, AssertionError) as error:
        raise SlimlineError(f"{stage}: DVC cannot say what goes into it: {error}") from None


def fetch(root: Path, key: str) -> None:
    """Bring here what others made of the same inputs, if anything, with its entries; `dvc repro` then finds it as if made here.

    Raises:
        SlimlineError: the remote does not answer, or lacks what its entry promises.
    """
    with _remote_of(root) as (repo, remote):
        known = _copy(remote, repo.cache.legacy, key)
        for name in known:
            for objects in _made(repo, key, name).values():
                repo.cloud.pull(objects)


def push_entries(root: Path, key: str) -> None:
    """Bring a stage's entries to the remote, as DVC before what they name: a bucket that is not there yet is made by the first object.

    Raises:
        SlimlineError: the remote does not answer.
    """
    with _remote_of(root) as (repo, remote):
        _copy(repo.cache.legacy, remote, key)


@contextmanager
def _remote_of(root: Path) -> Iterator[tuple[Any, Any]]:
    """DVC's repository and the remote of its run cache."""
    from dvc.exceptions import DvcException

    try:
        with _opened(root) as repo:
            yield repo, repo.cloud.get_remote_odb(None, "--run-cache", hash_name="md5-dos2unix")
    except (DvcException, OSError, BotoCoreError, ClientError) as error:
        raise SlimlineError(f"DVC's remote does not answer: {error}") from None


@contextmanager
def _opened(root: Path) -> Iterator[Any]:
    from dvc.repo import Repo

    with _one_reads, Repo(os.path.realpath(root)) as repo:
        yield repo


def _made(repo: Any, key: str, name: str) -> dict[Any, Any]:
    """What an entry names, by where it is kept. DVC's own `get_used_objs` takes the working folder for the repository's, and a run may be
    in a clone of its own."""
    from dvc.stage import PipelineStage, create_stage
    from dvc.stage.loader import StageLoader

    entry = repo.stage_cache._load_cache(key, name)
    if not entry:
        return {}
    outs = [out["path"] for out in entry["outs"]]
    root = str(repo.root_dir)
    stage = create_stage(PipelineStage, repo=repo, path=f"{root}/dvc.yaml", wdir=root, cmd=entry["cmd"], outs=outs)
    StageLoader.fill_from_lock(stage, entry)
    found: dict[Any, Any] = stage.get_used_objs()
    return found


def _copy(source: Any, target: Any, key: str) -> list[str]:
    from dvc.fs import generic

    folder, into = (one.fs.join(one.path, "runs", key[:2], key) for one in (source, target))
    names = [source.fs.name(path) for path in source.fs.find(folder)] if source.fs.exists(folder) else []
    for name in names:
        generic.copy(source.fs, source.fs.join(folder, name), target.fs, target.fs.join(into, name))
    return names
