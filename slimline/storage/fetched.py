"""Data that lies in S3: copied here once, and after that only what has changed there."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from slimline.errors import StorageRefused
from slimline.storage.client import Store, connect
from slimline.storage.objects import Listed, download, listed, require_bucket
from slimline.storage.url import object_address

FETCHED = Path(".slimline/fetched")
TOGETHER = 8
"""Objects that are fetched at a time."""


def fetched(url: str, folder: Path = FETCHED) -> Path:
    """The local copy of an object, or of all objects below s3://BUCKET/PREFIX; the connection is that of the AWS settings.

    A file is known by its size and by the time at which its object was written; what is no longer in the store is removed here.

    Raises:
        InputError: it is no such address.
        StorageRefused: nothing is there, a name leads out of the folder, or the store refuses.
        StorageUnavailable: the store does not answer.
    """
    bucket, key = object_address(url.rstrip("/"))
    store = connect(bucket)
    require_bucket(store)
    base = folder / hashlib.sha256(f"{store.endpoint} {url}".encode()).hexdigest()[:16]
    if below := listed(store, f"{key}/"):
        return _copied(
            store, {_path(store, base / "data", one, f"{key}/"): one for one in below if not one.key.endswith("/")}, base / "data"
        )
    if same := [one for one in listed(store, key) if one.key == key]:
        path = base / PurePosixPath(key).name
        return _copied(store, {path: same[0]}, path)
    raise StorageRefused(f"{url}: nothing is there at {store.endpoint}; correct data.path in params.yaml, or AWS_ENDPOINT_URL")


def _path(store: Store, folder: Path, one: Listed, prefix: str) -> Path:
    """Where an object's copy stands.

    Raises:
        StorageRefused: its name is no path below the folder.
    """
    inside = PurePosixPath(one.key.removeprefix(prefix))
    if inside.is_absolute() or ".." in inside.parts or "\0" in one.key:
        raise StorageRefused(f"{store.url(one.key)}: its name leads out of the folder it would be copied to; rename it")
    return folder / inside


def _copied(store: Store, wanted: dict[Path, Listed], place: Path) -> Path:
    _remove_others(wanted, place)
    stale = [(path, one) for path, one in wanted.items() if not _is_current(path, one)]
    for path, _ in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(TOGETHER) as pool:
        for _ in pool.map(lambda pair: _fetch(store, *pair), stale):
            pass
    return place


def _remove_others(wanted: Iterable[Path], place: Path) -> None:
    kept = set(wanted)
    for path in place.rglob("*") if place.is_dir() else ():
        if path.is_file() and path not in kept:
            path.unlink()


def _is_current(path: Path, one: Listed) -> bool:
    if not path.is_file():
        return False
    found = path.stat()
    return found.st_size == one.size_bytes and found.st_mtime == one.modified.timestamp()


def _fetch(store: Store, path: Path, one: Listed) -> None:
    download(store, one.key, path)
    written = one.modified.timestamp()
    os.utime(path, (written, written))
