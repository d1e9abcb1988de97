"""What may go from the store: releases that no alias and none of the last nights needs, and what interrupted uploads left.

What an alias needs is what it points at, with every release of that publication, and what a rollback may bring back. Releases are collected
in a turn of one's own (see moves.py), each with its release.json first, so that it is never half a release; then the aliases are read once
more: one that was moved while this process was frozen gets what it needs back. All times are the store's own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain, groupby, repeat

from slimline.artifact.compiled import RELEASE
from slimline.errors import StorageUnavailable
from slimline.storage.aliases import Alias, Standing, list_aliases
from slimline.storage.client import Store
from slimline.storage.objects import Listed, Tagged, listed, read, remove, write_if
from slimline.storage.releases import list_releases

UPLOAD_TAKES = timedelta(days=1)
"""What is younger and has no release.json may still be uploading."""
SHIELDED = timedelta(hours=1)
"""What was written so lately stays: somebody may be about to point an alias at it."""


@dataclass(frozen=True)
class Stored:
    """All objects of one release, or of what would have become one. `why` says what keeps it, empty: nothing.

    `label` is empty where there is no release.json (`released` is false then) or none that this version reads.
    """

    identity: str
    label: str
    released: bool
    published: datetime
    size_bytes: int
    keys: tuple[str, ...]
    why: str


def retained(store: Store, base: str, nights: int, now: datetime, rollbacks: int) -> list[Stored]:
    """Everything below a workload's key, newest first, each with what keeps it at the store's time `now`; touches nothing."""
    labels = {one.release.release: one.release.label for one in list_releases(store, base)}
    objects = dict(_by_release(listed(store, f"{base}/"), base))
    times = {identity: _modified(found, f"{base}/{identity}/{RELEASE}") for identity, found in objects.items()}
    days = {identity: at.date() for identity, at in times.items() if at is not None}
    reasons = needed(days, list_aliases(store, base), nights, rollbacks)
    stored = []
    for identity, found in objects.items():
        latest, at = max(one.modified for one in found), times[identity]
        why = reasons.get(identity) or _young(now - latest, released=at is not None)
        size, keys = sum(one.size_bytes for one in found), tuple(one.key for one in found)
        stored.append(Stored(identity, labels.get(identity, ""), at is not None, at or latest, size, keys, why))
    return sorted(stored, key=lambda one: (one.published, one.identity), reverse=True)


def needed(days: Mapping[str, date], aliases: Mapping[str, Alias], nights: int, rollbacks: int) -> dict[str, str]:
    """Release id -> what needs it, of those that something needs; `days` are when releases were published, by id."""
    kept = sorted(set(days.values()), reverse=True)[:nights]
    since = kept[-1].isoformat() if kept else None
    found: dict[str, str] = {}
    for name, alias in aliases.items():
        earlier = (one for step, (one, left) in enumerate(_left(alias)) if step < rollbacks or (since is not None and left >= since))
        for standing, why in ((alias, f"alias {name}"), *((one, f"rollback of {name}") for one in earlier)):
            for identity in (standing.release, *standing.releases.values()):
                found.setdefault(identity, why)
    for identity, day in days.items():
        if day in kept:
            found.setdefault(identity, f"night of {day}")
    return found


def collect(store: Store, base: str, going: Sequence[Stored], is_ours: Callable[[], bool]) -> list[Stored]:
    """Remove them, in our turn; those that an alias has come to point at all the same stay. Returns what was removed.

    Raises:
        StorageUnavailable: the turn was lost, or the store does not answer; what is left goes the next time.
    """
    papers = {one.identity: _taken(store, f"{base}/{one.identity}/{RELEASE}") for one in going}
    kept = needed({}, list_aliases(store, base), 0, 0).keys() & papers.keys()
    for identity in kept:
        if (paper := papers[identity]) is not None:
            write_if(store, f"{base}/{identity}/{RELEASE}", paper.body, None)
    removed = [one for one in going if one.identity not in kept]
    for key in (key for one in removed for key in one.keys):
        if not is_ours():
            raise StorageUnavailable(f"{store.url(base)}/: was held up for too long while removing; run `slimline gc` again for the rest")
        remove(store, key)
    return removed


def _left(alias: Alias) -> Iterator[tuple[Standing, str]]:
    """What stood before, newest first, with when the alias left it (ISO 8601); empty where it no longer knows."""
    times: list[str] = []
    for move in alias.moves:
        if move.by == "rollback":
            times = times[:-1]
        elif move.was:
            times.append(move.at)
    return zip(alias.previous, chain(reversed(times), repeat("")), strict=False)


def _young(age: timedelta, *, released: bool) -> str:
    """What keeps something that nothing needs yet."""
    if not released and age < UPLOAD_TAKES:
        return "may still be uploading"
    return "written in the last hour" if age < SHIELDED else ""


def _modified(objects: Iterable[Listed], key: str) -> datetime | None:
    """When the object was written; None where it is not among them."""
    return next((one.modified for one in objects if one.key == key), None)


def _taken(store: Store, key: str) -> Tagged | None:
    """An object that is gone from now on; None where there was none."""
    found = read(store, key)
    remove(store, key)
    return found


def _by_release(objects: Iterable[Listed], base: str) -> Iterable[tuple[str, list[Listed]]]:
    """What stands below each release's key; aliases and whatever is no release's are left out."""
    for identity, found in groupby(objects, key=lambda one: one.key.removeprefix(f"{base}/").partition("/")[0]):
        if len(identity) == 20 and not set(identity) - set("0123456789abcdef"):
            yield identity, list(found)
