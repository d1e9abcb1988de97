"""A stage is computed once in the world: whoever runs one holds its lease in the store, and its results are there before the lease ends.

What a stage is, is what DVC's run cache knows it by: command, parameters and the checksums of all that goes in. So a timing, which depends
on data/machine.json, is shared between machines of one kind alone.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows import engine
from flows.events import Noted, Said, tell
from slimline.errors import SlimlineError
from slimline.params import PublishParams
from slimline.storage.client import Store, connect
from slimline.storage.leases import process_mark
from slimline.storage.stage_leases import Stopping, held


@dataclass
class Sharing:
    """The store of a run that shares, and how many of its stages wait for other machines."""

    store: Store
    holder: str
    waiting: int = 0
    on_wait: Callable[[], object] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, change: int) -> None:
        """A stage begins to wait, or ends it: another may have its place."""
        with self.lock:
            self.waiting += change
        self.on_wait()


_active: list[Sharing] = []
_reading = threading.Lock()


@contextmanager
def sharing(publish: PublishParams, *, remote: str | None, wanted: bool) -> Iterator[None]:
    """For the length of the block stages are shared, where that is `wanted` and DVC has a remote."""
    if wanted and remote is None:
        tell(Noted("nothing is shared: DVC has no remote; dvc remote add -d NAME s3://BUCKET"))
    if not wanted or remote is None:
        yield
        return
    found = Sharing(connect(publish.bucket, os.environ), f"{socket.gethostname()} {process_mark()}")
    _active.append(found)
    try:
        yield
    finally:
        _active.remove(found)


def waiting() -> int:
    """How many stages wait for other machines, and leave their places to others."""
    return _active[-1].waiting if _active else 0


def when_one_waits(call: Callable[[], object]) -> None:
    """Call this whenever a stage begins or ends to wait."""
    if _active:
        _active[-1].on_wait = call


@contextmanager
def leased(stage: str, root: Path) -> Iterator[bool]:
    """Hold the stage's lease; whether it is held. A store that does not answer costs the sharing, never the run."""
    if not _active:
        yield False
        return
    shared, waits = _active[-1], []

    def wait(other: str) -> None:
        waits.append(other)
        tell(Said(stage, f"{other} computes it; waiting"))
        shared.count(1)

    with ExitStack() as open_until_the_end:
        try:
            name = stage_key(root, stage)
            lease = held(shared.store, name, shared.holder, on_wait=wait, is_stopping=engine.STOPPING.is_set)
            open_until_the_end.enter_context(lease)
            fetch_what_is_known(root)
            has_it = True
        except Stopping:
            has_it = False
        except SlimlineError as error:
            tell(Noted(f"{stage} is not shared: {error}"))
            has_it = False
        finally:
            if waits:
                shared.count(-1)
        yield has_it


def fetch_what_is_known(root: Path) -> None:
    """Bring the entries of the shared run cache here; `dvc repro --pull` then finds the stage's own, and fetches what it made.

    Raises:
        SlimlineError: the remote does not answer.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with _reading, Repo(os.path.realpath(root)) as repo:
            repo.stage_cache.pull(None)
    except (DvcException, OSError) as error:
        raise SlimlineError(f"DVC's remote does not answer: {error}") from None


def stage_key(root: Path, stage: str) -> str:
    """The name by which DVC's run cache knows a stage with what goes in now.

    Raises:
        SlimlineError: DVC knows no such stage, or something that it needs is not there.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage.cache import _get_stage_hash

    try:
        with _reading, Repo(os.path.realpath(root)) as repo:
            found = next(one for one in repo.index.stages if getattr(one, "name", None) == stage)
            found.save_deps()
            return str(_get_stage_hash(found))
    except (DvcException, StopIteration, AssertionError) as error:
        raise SlimlineError(f"{stage}: DVC cannot say what goes into it: {error}") from None
