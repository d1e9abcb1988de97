"""Whether the disk and the bucket have room for the nights to come, and an event where they have not."""

from collections.abc import Iterator
from pathlib import Path

import psutil
from prefect.events import emit_event

from flows.api import attempt
from slimline.params import PublishParams

NEARLY_FULL = "slimline.nearly-full"
FULL_SHARE = 0.9
LEAST_BYTES = 5_000_000_000
"""A disk with less is nearly full, however large it is."""


def tell_of_room(project: Path, publish: PublishParams) -> tuple[str, ...]:
    """A line for each place that is nearly full; each is an event of Prefect's too.

    Raises:
        StorageUnavailable, StorageRefused: the bucket has a quota, and the store says no or nothing.
    """
    lines = (*_of_disks(project), *_of_bucket(project, publish))
    if lines:
        resource = {"prefect.resource.id": f"slimline.room.{project.name}", "prefect.resource.name": str(project)}
        attempt(lambda: emit_event(event=NEARLY_FULL, resource=resource, payload={"text": "\n".join(lines)}))
    return lines


def _of_disks(project: Path) -> Iterator[str]:
    found = psutil.disk_usage(str(project))
    if found.used > FULL_SHARE * found.total or found.free < LEAST_BYTES:
        yield f"the disk of {project} has {found.free:,} of {found.total:,} bytes left; dvc gc --workspace, slimline gc, or a larger disk"


def _of_bucket(project: Path, publish: PublishParams) -> Iterator[str]:
    if publish.quota_bytes is None:
        return
    from slimline.storage.objects import listed
    from slimline.storage.server import opened_store

    with opened_store(project, publish) as store:
        used = sum(one.size_bytes for one in listed(store, ""))
    if used > FULL_SHARE * publish.quota_bytes:
        yield f"bucket {publish.bucket} holds {used:,} bytes, publish.quota_bytes is {publish.quota_bytes:,}; slimline gc, or raise it"
