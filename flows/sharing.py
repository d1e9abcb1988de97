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
from flows.run_cache import fetch, stage_key
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
def leased(stage: str, root: Path) -> Iterator[str]:
    """Hold the stage's lease, and give its name; "" where it is not held. A store that does not answer costs the sharing, never the run."""
    if not _active:
        yield ""
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
            fetch(root, name)
        except Stopping:
            name = ""
        except SlimlineError as error:
            tell(Noted(f"{stage} is not shared: {error}"))
            name = ""
        finally:
            if waits:
                shared.count(-1)
        yield name
