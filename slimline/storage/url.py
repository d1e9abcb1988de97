"""Addresses: s3:// ones of objects, releases and aliases, and the store's own."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from slimline.errors import InputError, StorageRefused

_OBJECT = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.*[^/])")
_RELEASE = re.compile(
    r"s3://(?P<bucket>[^/]+)/(?P<base>(?:.+/)?releases/[^/]+)/(?:aliases/(?P<alias>[^/]+)\.json|(?P<release>[0-9a-f]{20})/?)"
)


@dataclass(frozen=True)
class ReleaseAddress:
    """Where a release stands: by its own id, or by an alias (the other one is None)."""

    bucket: str
    base: str
    release: str | None
    alias: str | None


def object_address(url: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key.

    Raises:
        InputError: it is no such address.
    """
    found = _OBJECT.fullmatch(url)
    if found is None:
        raise InputError(f"{url}: no address of an object; write s3://BUCKET/KEY")
    return found["bucket"], found["key"]


def release_address(url: str) -> ReleaseAddress:
    """The parts of a release's or alias's address.

    Raises:
        InputError: it is neither.
    """
    found = _RELEASE.fullmatch(url)
    if found is None:
        raise InputError(
            f"{url}: no address of a release; write s3://BUCKET/releases/WORKLOAD/RELEASE-ID/ or s3://BUCKET/releases/WORKLOAD/aliases/ALIAS.json"
        )
    return ReleaseAddress(found["bucket"], found["base"], found["release"], found["alias"])


def refuse_secrets(endpoint: str | None) -> None:
    """See that an endpoint holds an address and nothing else: it is shown, logged and written into reports.

    Raises:
        StorageRefused: it has a user name, a password, a query or a fragment; the message shows none of them.
    """
    try:
        parts = urlsplit(endpoint or "")
        whole = not (parts.query or parts.fragment or "@" in (endpoint or ""))
    except ValueError:
        whole = False
    if not whole:
        raise StorageRefused(
            f"S3 settings: the endpoint {plain(endpoint or '')} must be http(s)://HOST:PORT without user, password or query; correct "
            "AWS_ENDPOINT_URL or publish.endpoint_url, and give the key as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def plain(url: str) -> str:
    """An address as it may be shown: without user name, password and query."""
    try:
        parts = urlsplit(url)
        address = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "(unreadable)"
    return address if parts.scheme in ("http", "https") and parts.hostname else "(unreadable)"
