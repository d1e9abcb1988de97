"""Read and write single objects of a store; every failure is one clear line."""

import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from slimline.errors import StorageRefused
from slimline.storage.client import Store, explained, is_missing_key, status_of
from slimline.storage.leases import locked

MOST_BYTES = 16_000_000
"""More than any object has that is read as a whole: aliases, release.json, model cards, pages."""
MOST_PAGES = 1000
"""Of a listing, 1000 objects each."""


@dataclass(frozen=True)
class Listed:
    """One object as a listing shows it."""

    key: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True)
class Tagged:
    """An object's bytes and the tag that a conditional write compares."""

    body: bytes
    etag: str


def read(store: Store, key: str) -> Tagged | None:
    """A small object, or None where there is none.

    Raises:
        StorageRefused: it is larger than any that Slimline writes.
    """
    with explained(store, f"reading {key}"):
        try:
            answer = store.client.get_object(Bucket=store.bucket, Key=key)
            if answer["ContentLength"] > MOST_BYTES:
                raise StorageRefused(
                    f"{store.url(key)}: {answer['ContentLength']:,} bytes, {MOST_BYTES:,} at most; remove it, publish again"
                )
            return Tagged(answer["Body"].read(), answer["ETag"])
        except ClientError as error:
            if is_missing_key(error):
                return None
            raise


def write_if(store: Store, key: str, body: bytes, standing: str | None, content_type: str = "application/json") -> bool:
    """Write only if the object still has the tag `standing` (None: only if there is none); False when it has not.

    SeaweedFS 4.48 was once seen to let two of eight racing writers win; who writes to the embedded server takes turns.
    """
    condition = {"IfNoneMatch": "*"} if standing is None else {"IfMatch": standing}
    with _turn(store), explained(store, f"writing {key}"):
        try:
            store.client.put_object(Bucket=store.bucket, Key=key, Body=body, ContentType=content_type, **condition)
        except ClientError as error:
            if status_of(error) in (409, 412) or (standing is not None and is_missing_key(error)):
                return False
            raise
    return True


def _turn(store: Store) -> AbstractContextManager[None]:
    return locked(store.turns, "turns") if store.turns and store.turns.is_dir() else nullcontext()


def upload(store: Store, key: str, path: Path) -> None:
    """Store a file, in parts where it is large; the store checks each part's checksum."""
    with explained(store, f"writing {key}"), path.open("rb") as stream:
        store.client.upload_fileobj(stream, store.bucket, key)


def download(store: Store, key: str, path: Path) -> None:
    """Fetch an object into a file.

    Raises:
        StorageRefused: there is no such object.
    """
    with explained(store, f"reading {key}"), path.open("wb") as stream:
        try:
            store.client.download_fileobj(store.bucket, key, stream)
        except ClientError as error:
            if is_missing_key(error):
                require_bucket(store)
                raise StorageRefused(f"{store.url(key)}: no such object at {store.endpoint}; look with `slimline releases`") from None
            raise


def listed(store: Store, prefix: str) -> list[Listed]:
    """Every object below a prefix, in order of key."""
    with explained(store, f"listing {prefix}"):
        items = (item for page in _pages(store, prefix) for item in page.get("Contents", ()))
        found = [Listed(item["Key"], item["Size"], item["LastModified"]) for item in items]
    return sorted(found, key=lambda item: item.key)


def folders(store: Store, prefix: str) -> list[str]:
    """The names directly below a prefix that hold further objects."""
    with explained(store, f"listing {prefix}"):
        found = [item["Prefix"] for page in _pages(store, prefix, Delimiter="/") for item in page.get("CommonPrefixes", ())]
    return sorted(name.removeprefix(prefix).rstrip("/") for name in found)


def _pages(store: Store, prefix: str, **more: str) -> Iterator[Any]:
    pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=prefix, **more)
    for number, page in enumerate(pages):
        if number == MOST_PAGES:
            raise StorageRefused(f"S3 store {store.endpoint}: the list of {store.url(prefix)} does not end; correct the endpoint")
        yield page


def require_bucket(store: Store) -> None:
    """See that the bucket is there and may be listed.

    Raises:
        StorageUnavailable: the store does not answer.
        StorageRefused: wrong key, missing bucket or no right to list it.
    """
    with explained(store, "listing"):
        store.client.list_objects_v2(Bucket=store.bucket, MaxKeys=1)


def store_time(store: Store) -> datetime:
    """What the store takes for now: the clock that objects' `modified` is told by, whatever this machine's says.

    Raises:
        StorageRefused: it does not say (every HTTP server does).
    """
    with explained(store, "listing"):
        answer = store.client.list_objects_v2(Bucket=store.bucket, MaxKeys=1)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def make_buckets(store: Store, names: Iterable[str]) -> None:
    """Make the buckets that are not there yet."""
    with explained(store, "making buckets"):
        present = {bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]}
        for name in sorted(set(names) - present):
            store.client.create_bucket(Bucket=name)


def check_writes(store: Store) -> None:
    """Write a small object twice on the condition that it is new, and remove it: releases need the second to fail.

    Raises:
        StorageRefused: no right to write, or the store ignores If-None-Match, so that two publishers could lose each other's work.
    """
    key = f"releases/.probe-{uuid4().hex}"
    write_if(store, key, b"1", None)
    second = write_if(store, key, b"2", None)
    remove(store, key)
    if second:
        raise StorageRefused(f"S3 store {store.endpoint}: ignores conditional writes (If-None-Match); use a store that has them")


def put_bytes(store: Store, key: str, body: bytes) -> None:
    """Store some bytes whatever stands there."""
    with explained(store, f"writing {key}"):
        store.client.upload_fileobj(io.BytesIO(body), store.bucket, key)


def remove(store: Store, key: str) -> None:
    """Delete an object; none is none."""
    with explained(store, f"deleting {key}"):
        store.client.delete_object(Bucket=store.bucket, Key=key)
