"""Who computes what in the world: a lease in the store for each stage and its inputs, so that two machines do not compute one thing twice.

A lease is an object that its holder writes anew every few seconds, conditionally on its own last tag. Whoever waits looks at the tag alone,
with his own clock: one that has not changed for `TTL_S` is of a dead holder and is taken over, whatever the clocks of the machines say.
Gray and Cheriton, Leases, SOSP 1989; the conditional writes are those of S3 (If-Match, If-None-Match).
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slimline.errors import StorageRefused, StorageUnavailable
from slimline.storage.client import Store
from slimline.storage.objects import listed, read, remove, write_if

PREFIX = "leases/"
TTL_S = 30.0
"""A holder that has written nothing for so long is dead."""
POLL_S = 0.5
FREE = b'{"holder": null}'
KEPT = timedelta(days=1)
"""A lease that nobody has written for so long is of a stage that has ended, or of a dead holder."""
MOVES = "moves/"
"""Begins the names of the leases that order moves of aliases: one a workload, so they are never forgotten."""


class Stopping(Exception):
    """The run ends while it waits."""


@dataclass
class _Held:
    """A lease that is ours: its tag, and whether somebody took it over while this process was frozen."""

    store: Store
    key: str
    holder: str
    beats: int = 0
    etag: str = ""
    written: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def body(self) -> bytes:
        return json.dumps({"holder": self.holder, "beat": self.beats}).encode()

    def take(self, standing: str | None) -> bool:
        """Write our name where `standing` is what stands there; whether it is ours then, also by an earlier write whose answer was lost.

        The tag of what stands there is the next condition.
        """
        now = time.monotonic()
        write_if(self.store, self.key, self.body(), standing)
        found = read(self.store, self.key)
        if found is None or _name_in(found.body) != self.holder:
            return False
        self.etag, self.written = found.etag, now
        return True

    def beat(self, every_s: float) -> None:
        """Write anew until it ends; a store that does not answer is asked again."""
        while not self.ended.wait(every_s):
            with suppress(StorageRefused, StorageUnavailable):
                self.beats += 1
                if not self.take(self.etag):
                    return


@contextmanager
def held(
    store: Store,
    name: str,
    holder: str,
    *,
    ttl_s: float = TTL_S,
    on_wait: Callable[[str], object] = lambda _: None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Callable[[], bool]]:
    """Hold the lease of `name` for the length of the block; wait while somebody else who lives has it.

    Yields whether it is surely still ours: a process that was frozen, or whom the store did not answer, for `ttl_s` may have lost it.

    `on_wait` is called once with the other's name. `holder` says who one is, and nobody else may be called so.

    Raises:
        Stopping: `is_stopping` while it waited.
        StorageUnavailable, StorageRefused: the store does not answer, or refuses.
    """
    lease = _Held(store, f"{PREFIX}{name}.json", holder)
    _acquire(lease, ttl_s, on_wait, is_stopping)
    beating = threading.Thread(target=lease.beat, args=(ttl_s / 4,), daemon=True)
    beating.start()
    try:
        yield lambda: time.monotonic() - lease.written < ttl_s
    finally:
        lease.ended.set()
        beating.join()
        with suppress(StorageRefused, StorageUnavailable):  # it runs out
            write_if(store, lease.key, FREE, lease.etag)


def ended(store: Store, now: datetime) -> list[str]:
    """The keys of stages' leases that nobody has written for `KEPT` at the store's time `now`; who holds one writes every few seconds."""
    found = (one for one in listed(store, PREFIX) if not one.key.startswith(PREFIX + MOVES))
    return [one.key for one in found if now - one.modified > KEPT]


def forget(store: Store, keys: Sequence[str]) -> None:
    """Remove them. One that is taken meanwhile is lost: two may then compute the same bytes."""
    for key in keys:
        remove(store, key)


def _acquire(lease: _Held, ttl_s: float, on_wait: Callable[[str], object], is_stopping: Callable[[], bool]) -> None:
    seen, since, told = "", time.monotonic(), False
    while not is_stopping():
        standing = read(lease.store, lease.key)
        if standing is None or standing.body == FREE or (standing.etag == seen and time.monotonic() - since > ttl_s):
            if lease.take(standing.etag if standing else None):
                return
            continue
        if standing.etag != seen:
            seen, since = standing.etag, time.monotonic()
        if not told:
            on_wait(_name_in(standing.body))
            told = True
        time.sleep(POLL_S)
    raise Stopping


def _name_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["holder"])[:100]
    except (ValueError, KeyError, TypeError):
        return "somebody"
