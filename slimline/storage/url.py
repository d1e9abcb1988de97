"""s3:// addresses of objects, releases and aliases."""

import re
from dataclasses import dataclass

from slimline.errors import InputError

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
