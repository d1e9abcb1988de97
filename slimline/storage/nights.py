"""Nights in the store, one small object each, below nights/<workload>/: written once, never changed."""

from slimline.errors import InputError
from slimline.nights.night import Night, parse_night
from slimline.storage.client import Store
from slimline.storage.objects import listed, read, write_if

MOST_NIGHTS = 10_000


def nights_key(base: str) -> str:
    """The key below which a workload's nights stand, beside its releases (see slimline.storage.releases.release_base)."""
    return f"nights/{base.removeprefix('releases/')}"


def remember(store: Store, base: str, night: Night) -> str:
    """Store a night; its URL. The same one again changes nothing."""
    key = f"{nights_key(base)}/{night.identity}.json"
    write_if(store, key, night.as_json(), None)
    return store.url(key)


def remembered(store: Store, base: str, limit: int) -> list[Night]:
    """The last so many nights in order of time; what is no night is left out."""
    keys = [one.key for one in listed(store, f"{nights_key(base)}/") if one.key.endswith(".json")][-min(limit, MOST_NIGHTS) :]
    found = [parse_night(body.body) for key in keys if (body := read(store, key))]
    return [night for night in found if night is not None]


def night_named(store: Store, given: str) -> Night:
    """The night of any workload with this name, or whose name begins so.

    Raises:
        InputError: there is none, or several.
    """
    keys = [one.key for one in listed(store, "nights/") if one.key.rpartition("/")[2].removesuffix(".json").startswith(given)]
    if len(keys) != 1 or not given:
        names = ", ".join(key.rpartition("/")[2].removesuffix(".json") for key in keys[-5:]) or "none; `slimline history --json` names them"
        raise InputError(f"run {given!r}: not the name of one run of {store.url('nights/')}; there begin so: {names}")
    body = read(store, keys[0])
    night = parse_night(body.body) if body else None
    if night is None:
        raise InputError(f"run {given!r}: {store.url(keys[0])} is no night that this version reads")
    return night
