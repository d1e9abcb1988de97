"""Aliases: small files that say which release stands now; moved by conditional write, so that no move is lost.

An alias keeps what it pointed at before (for rollback), every move (for history) and what was rolled back from:
publishing does not bring a withdrawn release back by itself, `slimline promote` does.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slimline.errors import InputError, StorageRefused
from slimline.storage.client import Store
from slimline.storage.objects import listed, read, write_if

KEPT = 100
TRIES = 20
By = Literal["publish", "promote", "rollback"]
Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")]
"""A release's id."""
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,199}$")]
"""What variants, targets and aliases are called: nothing that a path or a terminal would obey."""


class Standing(BaseModel):
    """What an alias points at: the preferred release, and every release of that publication by variant-target."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    release: Identity
    variant: Word
    target: Word
    releases: dict[Word, Identity]


class Move(BaseModel):
    """One move of an alias; `at` is UTC in ISO 8601."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[str, Field(pattern=r"^[0-9T:.+Z-]{1,40}$")]
    by: By
    release: Identity
    variant: Word
    target: Word


class Alias(Standing):
    """<alias>.json: what stands now, what stood before (newest first), what was withdrawn, and all moves (oldest first)."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    previous: tuple[Standing, ...] = ()
    withdrawn: tuple[Identity, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def standing(self) -> Standing:
        """What stands now, without the past."""
        return Standing(release=self.release, variant=self.variant, target=self.target, releases=self.releases)

    def as_json(self) -> bytes:
        """The file's bytes."""
        return (self.model_dump_json(by_alias=True, indent=2) + "\n").encode()


def alias_key(base: str, name: str) -> str:
    """Where an alias is stored."""
    return f"{base}/aliases/{name}.json"


def list_aliases(store: Store, base: str) -> dict[str, Alias]:
    """Every alias of a workload by name; what bears no alias's name is none."""
    folder = f"{base}/aliases/"
    names = [item.key.removeprefix(folder).removesuffix(".json") for item in listed(store, folder) if item.key.endswith(".json")]
    names = [name for name in names if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)]
    return {name: read_alias(store, base, name) for name in names}


def read_alias(store: Store, base: str, name: str) -> Alias:
    """What an alias says.

    Raises:
        StorageRefused: there is no such alias, or its file is damaged.
    """
    found = read(store, alias_key(base, name))
    if found is None:
        raise StorageRefused(f"{store.url(alias_key(base, name))}: no such alias at {store.endpoint}; publish first (`slimline publish`)")
    return _parsed(store, alias_key(base, name), found.body)


def advance(store: Store, base: str, name: str, standing: Standing) -> tuple[Alias, bool]:
    """Let an alias point at a new publication; (alias, whether it moved). A withdrawn release does not come back this way."""

    def change(alias: Alias | None) -> Alias | None:
        if alias is not None and (alias.standing == standing or standing.release in alias.withdrawn):
            return None
        return pointed(alias, standing, "publish", _now())

    return _changed(store, base, name, change)


def promote(store: Store, base: str, name: str, standing: Standing) -> tuple[Alias, bool]:
    """Let an alias point at what somebody chose, also at a withdrawn release; (alias, whether it moved)."""

    def change(alias: Alias | None) -> Alias | None:
        if alias is not None and alias.standing == standing and standing.release not in alias.withdrawn:
            return None
        return pointed(alias, standing, "promote", _now())

    return _changed(store, base, name, change)


def rollback(store: Store, base: str, name: str) -> Alias:
    """Let an alias point at what it pointed at before, and withdraw what it points at now.

    Raises:
        StorageRefused: there is no such alias.
        InputError: nothing stood before.
    """

    def change(alias: Alias | None) -> Alias | None:
        if alias is None:
            read_alias(store, base, name)
        elif alias.previous:
            return rolled_back(alias, _now())
        raise InputError(f"alias {name!r} of {base}: nothing stood there before; name another release with `slimline promote`")

    return _changed(store, base, name, change)[0]


def pointed(alias: Alias | None, standing: Standing, by: By, at: str) -> Alias:
    """The alias after a move forward; what stood becomes the first of `previous`."""
    move = Move(at=at, by=by, release=standing.release, variant=standing.variant, target=standing.target)
    previous = (alias.standing, *alias.previous) if alias else ()
    withdrawn = tuple(one for one in alias.withdrawn if one != standing.release) if alias else ()
    moves = (*(alias.moves if alias else ()), move)
    return Alias(**standing.model_dump(), previous=previous[:KEPT], withdrawn=withdrawn, moves=moves[-KEPT:])


def rolled_back(alias: Alias, at: str) -> Alias:
    """The alias after a step back; what stood is withdrawn (unless the step keeps the same preferred release)."""
    standing, *older = alias.previous
    move = Move(at=at, by="rollback", release=standing.release, variant=standing.variant, target=standing.target)
    withdrawn = tuple(dict.fromkeys((alias.release, *alias.withdrawn)))
    kept = tuple(one for one in withdrawn if one != standing.release)[:KEPT]
    return Alias(**standing.model_dump(), previous=tuple(older), withdrawn=kept, moves=(*alias.moves, move)[-KEPT:])


def _changed(store: Store, base: str, name: str, change: Callable[[Alias | None], Alias | None]) -> tuple[Alias, bool]:
    key = alias_key(base, name)
    for _ in range(TRIES):
        found = read(store, key)
        before = _parsed(store, key, found.body) if found else None
        after = change(before)
        if after is None and before is not None:
            return before, False
        if after is not None and write_if(store, key, after.as_json(), found.etag if found else None):
            return after, True
    raise StorageRefused(f"{store.url(key)}: moved {TRIES} times by others meanwhile; run this again")


def _parsed(store: Store, key: str, body: bytes) -> Alias:
    try:
        return Alias.model_validate_json(body)
    except ValidationError:
        raise StorageRefused(f"{store.url(key)}: damaged; remove it and publish again, or put an older version back") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
