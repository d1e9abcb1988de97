"""The moves that an alias has no more room for, one small object each below moves/<workload>/<alias>/: written once, never changed."""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import ValidationError

from slimline.storage.client import Store
from slimline.storage.objects import listed, read, write_if

if TYPE_CHECKING:
    from slimline.storage.aliases import Move


def put_away(store: Store, base: str, name: str, moves: "Iterable[Move]") -> None:
    """Store moves of an alias; the same ones again change nothing."""
    for move in moves:
        body = (move.model_dump_json() + "\n").encode()
        moment = move.at.replace(":", "").replace("+", "_")
        write_if(store, f"{_folder(base, name)}{moment}-{hashlib.sha256(body).hexdigest()[:8]}.json", body, None)


def earlier_moves(store: Store, base: str, name: str, limit: int) -> "tuple[Move, ...]":
    """The last so many of those, oldest first; what is no move is left out."""
    from slimline.storage.aliases import Move

    found = []
    for key in [one.key for one in listed(store, _folder(base, name))][-limit:] if limit > 0 else ():
        try:
            found += [Move.model_validate_json(body.body)] if (body := read(store, key)) else []
        except ValidationError:
            continue
    return tuple(found)


def _folder(base: str, name: str) -> str:
    return f"moves/{base.removeprefix('releases/')}/{name}/"
