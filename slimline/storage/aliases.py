"""Aliases: small files that say which release stands now; moved by conditional write, so that no move is lost.

An alias keeps what it pointed at before (for rollback), every move (for history) and what was rolled back from:
publishing does not bring a withdrawn release back by itself, `slimline promote` does. Each move says who made it and why.
"""

import getpass
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from slimline.errors import InputError, StorageRefused
from slimline.storage.client import Store
from slimline.storage.objects import listed, read, write_if
from slimline.storage.trail import put_away

KEPT = 100
TRIES = 20
By = Literal["publish", "promote", "rollback"]
Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")]
"""A release's id."""
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,199}$")]
"""What variants, targets and aliases are called: nothing that a path or a terminal would obey."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds what a terminal would obey")
    return text


Line = Annotated[str, Field(max_length=300), AfterValidator(_printable)]


class Standing(BaseModel):
    """What an alias points at: the preferred release, and every release of that publication by variant-target."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    release: Identity
    variant: Word
    target: Word
    releases: dict[Word, Identity]


class Author(BaseModel):
    """Who moves an alias, and why: for those who look later. Both are a line of text without what a terminal would obey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: Line = ""
    why: Line = ""


class Move(Author):
    """One move of an alias; `at` is UTC in ISO 8601, `was` the release that stood before."""

    at: Annotated[str, Field(pattern=r"^[0-9T:.+Z-]{1,40}$")]
    by: By
    was: Identity | None = None
    release: Identity
    variant: Word
    target: Word


class Alias(Standing):
    """<alias>.json: what stands now, what stood before (newest first), what was withdrawn, and the last KEPT moves (oldest first).

    Earlier moves stand beside it (slimline.storage.trail).
    """

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


def author(why: str = "") -> Author:
    """Whoever runs this process, as user@host.

    Raises:
        InputError: `why` is no line of at most 300 characters.
    """
    try:
        return Author(who=f"{getpass.getuser()}@{socket.gethostname()}"[:300], why=why)
    except ValidationError:
        raise InputError(f"the reason {why[:40]!r}: give one line of at most 300 characters") from None


def advance(store: Store, base: str, name: str, standing: Standing, said: Author) -> tuple[Alias, bool]:
    """Let an alias point at a new publication; (alias, whether it moved). A withdrawn release does not come back this way."""

    def change(alias: Alias | None) -> Alias | None:
        if alias is not None and (alias.standing == standing or standing.release in alias.withdrawn):
            return None
        return pointed(alias, standing, "publish", said, _now())

    for _ in range(TRIES):
        if (found := _changed(store, base, name, change)) is not None:
            return found
    raise StorageRefused(f"{store.url(alias_key(base, name))}: moved {TRIES} times by others meanwhile; run this again")


def promote(store: Store, base: str, name: str, standing: Standing, said: Author) -> tuple[Alias, bool]:
    """Let an alias point at what somebody chose, also at a withdrawn release; (alias, whether it moved).

    Raises:
        StorageRefused: somebody else moved it at the same moment.
    """

    def change(alias: Alias | None) -> Alias | None:
        if alias is not None and alias.standing == standing and standing.release not in alias.withdrawn:
            return None
        return pointed(alias, standing, "promote", said, _now())

    return _unless_moved(store, base, name, change)


def rollback(store: Store, base: str, name: str, said: Author) -> Alias:
    """Let an alias point at what it pointed at before, and withdraw what it points at now.

    Raises:
        StorageRefused: there is no such alias, or somebody else moved it at the same moment.
        InputError: nothing stood before.
    """

    def change(alias: Alias | None) -> Alias | None:
        if alias is None:
            read_alias(store, base, name)
        elif alias.previous:
            return rolled_back(alias, said, _now())
        raise InputError(f"alias {name!r} of {base}: nothing stood there before; name another release with `slimline promote`")

    return _unless_moved(store, base, name, change)[0]


def pointed(alias: Alias | None, standing: Standing, by: By, said: Author, at: str) -> Alias:
    """The alias after a move forward; what stood becomes the first of `previous`."""
    previous = (alias.standing, *alias.previous) if alias else ()
    withdrawn = tuple(one for one in alias.withdrawn if one != standing.release) if alias else ()
    moves = (*(alias.moves if alias else ()), _move(alias, standing, by, said, at))
    return Alias(**standing.model_dump(), previous=previous[:KEPT], withdrawn=withdrawn, moves=moves[-KEPT:])


def rolled_back(alias: Alias, said: Author, at: str) -> Alias:
    """The alias after a step back; what stood is withdrawn (unless the step keeps the same preferred release)."""
    standing, *older = alias.previous
    move = _move(alias, standing, "rollback", said, at)
    withdrawn = tuple(dict.fromkeys((alias.release, *alias.withdrawn)))
    kept = tuple(one for one in withdrawn if one != standing.release)[:KEPT]
    return Alias(**standing.model_dump(), previous=tuple(older), withdrawn=kept, moves=(*alias.moves, move)[-KEPT:])


def _move(alias: Alias | None, to: Standing, by: By, said: Author, at: str) -> Move:
    names = {"release": to.release, "variant": to.variant, "target": to.target}
    return Move(**said.model_dump(), at=at, by=by, was=alias.release if alias else None, **names)


def _unless_moved(store: Store, base: str, name: str, change: Callable[[Alias | None], Alias | None]) -> tuple[Alias, bool]:
    """A change that somebody decided on what they saw: it does not stand on what others made of the alias meanwhile."""
    if (found := _changed(store, base, name, change)) is not None:
        return found
    stands = read_alias(store, base, name)
    last = f" by {stands.moves[-1].who or 'somebody'}" if stands.moves else ""
    raise StorageRefused(
        f"{store.url(alias_key(base, name))}: was moved{last} to {stands.release} at the same moment; look with `slimline history`, "
        "and run this again if it is still wanted"
    )


def _changed(store: Store, base: str, name: str, change: Callable[[Alias | None], Alias | None]) -> tuple[Alias, bool] | None:
    """(alias, whether it moved); None where somebody moved it between the look and the write."""
    key = alias_key(base, name)
    found = read(store, key)
    before = _parsed(store, key, found.body) if found else None
    after = change(before)
    if after is None:
        return (before, False) if before is not None else None
    if before is not None:
        put_away(store, base, name, [move for move in before.moves if move not in after.moves])
    return (after, True) if _written(store, key, after, found.etag if found else None) else None


def _written(store: Store, key: str, after: Alias, standing: str | None) -> bool:
    """Whether the move was made: a write whose answer was lost is sent again, and refused because of itself."""
    if write_if(store, key, after.as_json(), standing):
        return True
    found = read(store, key)
    return found is not None and after.moves[-1] in _parsed(store, key, found.body).moves


def _parsed(store: Store, key: str, body: bytes) -> Alias:
    try:
        return Alias.model_validate_json(body)
    except ValidationError:
        raise StorageRefused(f"{store.url(key)}: damaged; remove it and publish again, or put an older version back") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
