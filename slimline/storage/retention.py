"""What may go from the store: releases that no alias and none of the last nights needs, and what interrupted uploads left.

What an alias needs is what it points at, with every release of that publication, and what a rollback would bring back. A release goes with
its release.json first, so that it is never half a release; then the aliases are read once more, and one that needs it now gets it back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from slimline.artifact.compiled import RELEASE
from slimline.storage.aliases import Alias, list_aliases
from slimline.storage.client import Store
from slimline.storage.objects import Listed, Tagged, listed, read, remove, write_if
from slimline.storage.releases import PublishedRelease, list_releases

UPLOAD_TAKES = timedelta(days=1)
"""What is younger may still be uploading."""


@dataclass(frozen=True)
class Stored:
    """All objects of one release, or of what would have become one; `label` is empty there. `why` says what keeps it, empty: nothing."""

    identity: str
    label: str
    published: datetime
    size_bytes: int
    keys: tuple[str, ...]
    why: str


def retained(store: Store, base: str, nights: int, now: datetime) -> list[Stored]:
    """Everything below a workload's key, newest first, each with what keeps it; touches nothing."""
    releases = {one.release.release: one for one in list_releases(store, base)}
    reasons = needed(releases.values(), list_aliases(store, base), nights)
    found = []
    for identity, objects in _by_release(listed(store, f"{base}/"), base):
        release, latest = releases.get(identity), max(one.modified for one in objects)
        why = reasons.get(identity, "") if release else ("may still be uploading" if now - latest < UPLOAD_TAKES else "")
        size, keys = sum(one.size_bytes for one in objects), tuple(one.key for one in objects)
        found.append(Stored(identity, release.release.label if release else "", release.published if release else latest, size, keys, why))
    return sorted(found, key=lambda one: (one.published, one.identity), reverse=True)


def needed(releases: Iterable[PublishedRelease], aliases: Mapping[str, Alias], nights: int) -> dict[str, str]:
    """Release id -> what needs it, of those that something needs."""
    found: dict[str, str] = {}
    for name, alias in aliases.items():
        for standing, why in ((alias, f"alias {name}"), *((one, f"rollback of {name}") for one in alias.previous)):
            for identity in (standing.release, *standing.releases.values()):
                found.setdefault(identity, why)
    released = list(releases)
    days = sorted({one.published.date() for one in released}, reverse=True)[:nights]
    for one in released:
        if one.published.date() in days:
            found.setdefault(one.release.release, f"night of {one.published.date()}")
    return found


def collect(store: Store, base: str, going: Sequence[Stored]) -> list[Stored]:
    """Remove them; those that an alias has come to need meanwhile stay. Returns what was removed."""
    papers = {one.identity: _taken(store, f"{base}/{one.identity}/{RELEASE}") for one in going}
    kept = needed([], list_aliases(store, base), 0).keys() & papers.keys()
    for identity in kept:
        if (paper := papers[identity]) is not None:
            write_if(store, f"{base}/{identity}/{RELEASE}", paper.body, None)
    removed = [one for one in going if one.identity not in kept]
    for key in (key for one in removed for key in one.keys):
        remove(store, key)
    return removed


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
