"""Moves of aliases that stand: the release that an alias is pointed at is there and whole, and nobody removes it meanwhile.

Who moves an alias of a workload and who collects its releases (`slimline gc`) take turns, by a lease in the store. A process that was
frozen for longer than a lease lasts loses its turn unnoticed: who collects looks before every removal, who moves looks at the release
once more after the move and takes the move back.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from slimline.errors import StorageRefused
from slimline.storage.aliases import Alias, Author, alias_key, author, read_alias, rollback
from slimline.storage.client import Store
from slimline.storage.objects import Tagged, read, remove, write_if
from slimline.storage.releases import is_whole, read_release
from slimline.storage.stage_leases import MOVES, TTL_S, held

log = logging.getLogger(__name__)


@contextmanager
def turn(store: Store, base: str, ttl_s: float = TTL_S) -> Iterator[Callable[[], bool]]:
    """For the length of the block nobody else moves an alias of this workload or collects its releases; waits for who does.

    Yields whether that is surely still so.

    Raises:
        StorageUnavailable, StorageRefused: the store does not answer, or refuses.
    """

    def wait(other: str) -> None:
        log.info("%s moves an alias of %s or collects its releases; waiting", other, base)

    holder = f"{author().who[:60]} {uuid4().hex[:12]}"
    with held(store, f"{MOVES}{base.removeprefix('releases/')}", holder, ttl_s=ttl_s, on_wait=wait) as is_ours:
        yield is_ours


def require_whole(store: Store, base: str, identity: str) -> None:
    """See that a release has all its files.

    Raises:
        StorageRefused: it is gone, damaged, or lacks some.
    """
    if not is_whole(store, f"{base}/{identity}", read_release(store, base, identity)):
        raise StorageRefused(f"{store.url(base)}/{identity}/: files are missing in the store; publish it again first")


def moved_to_whole(store: Store, base: str, name: str, move: Callable[[], tuple[Alias, bool]]) -> tuple[Alias, bool]:
    """Make a move, in our turn; where its release is not whole afterwards, the alias is put back.

    Raises:
        StorageRefused: that happened; or what `move` raises.
    """
    before = read(store, alias_key(base, name))
    alias, moved = move()
    try:
        require_whole(store, base, alias.release)
    except StorageRefused as error:
        if moved:
            _put_back(store, alias_key(base, name), before, alias.as_json())
        raise StorageRefused(f"{error}; the alias {name} stays as it was") from None
    return alias, moved


def rollback_to_whole(store: Store, base: str, name: str, said: Author) -> Alias:
    """Take an alias one step back, where what stood before is still there.

    Raises:
        StorageRefused: it is not, or there is no such alias, or somebody else moved it at the same moment.
        InputError: nothing stood before.
    """
    with turn(store, base):
        for earlier in read_alias(store, base, name).previous[:1]:
            require_whole(store, base, earlier.release)
        return moved_to_whole(store, base, name, lambda: (rollback(store, base, name, said), True))[0]


def _put_back(store: Store, key: str, before: Tagged | None, ours: bytes) -> None:
    """What stood before our move, unless somebody has moved on since."""
    standing = read(store, key)
    if standing is None or standing.body != ours:
        return
    if before is None:
        remove(store, key)
    else:
        write_if(store, key, before.body, standing.etag)
