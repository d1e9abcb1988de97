"""The store that a project uses: one of its own, or the embedded server, up for as long as somebody uses it.

Every user takes a lease. The first one starts the server, the last one stops it; a lease whose process was killed
counts for nothing, so the next command puts things right. Data and keys stay in <project>/.slimline/s3.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.artifact.folder import folder_bytes
from slimline.errors import StorageRefused, StorageUnavailable
from slimline.params import Params, PublishParams
from slimline.storage import leases, weed
from slimline.storage.client import REGION, Store, connect
from slimline.storage.objects import make_buckets, require_bucket
from slimline.storage.url import refuse_secrets

SETTINGS = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *("AWS_CONFIG_FILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Any of these in the environment means: the user has a store of their own."""
DVC_BUCKET = "slimline"


@dataclass(frozen=True)
class ServerState:
    """What `slimline s3` shows. `users` are marks "pid:create_time", or "hold" for the lasting lease of `make up`."""

    embedded: bool
    running: bool
    endpoint: str | None
    bucket: str
    users: tuple[str, ...] = ()
    folder: Path | None = None
    stored_bytes: int = 0


def state_folder(root: Path) -> Path:
    """Where a project's embedded server keeps data, keys, log and leases."""
    return root.resolve() / ".slimline" / "s3"


def is_embedded(publish: PublishParams) -> bool:
    """Whether the embedded server serves: no endpoint in params.yaml and no AWS setting in the environment."""
    return publish.endpoint_url is None and not any(os.environ.get(name) for name in SETTINGS)


@contextlib.contextmanager
def store_environment(root: Path, publish: PublishParams) -> Iterator[dict[str, str]]:
    """The variables to add to a child's environment so that it reaches the store; the embedded server is up meanwhile.

    Raises:
        StorageUnavailable: the embedded server does not start.
    """
    if not is_embedded(publish):
        yield _own_store(publish)
        return
    folder = state_folder(root)
    with leases.locked(folder):
        lease = leases.take(folder)
    try:
        yield _started(folder, publish)
    finally:
        with leases.locked(folder):
            lease.unlink(missing_ok=True)
            _stop_if_unused(folder)


@contextlib.contextmanager
def opened_store(root: Path, publish: PublishParams) -> Iterator[Store]:
    """The project's store, reached and found to have its bucket.

    Raises:
        StorageUnavailable: it does not answer.
        StorageRefused: wrong key or missing bucket.
    """
    with store_environment(root, publish) as added:
        store = connect(publish.bucket, os.environ | added)
        require_bucket(store)
        yield store


@contextlib.contextmanager
def environment_here() -> Iterator[Mapping[str, str]]:
    """The whole environment for S3 from here: in a project's folder that of its store, elsewhere the process's own.

    Raises:
        ParamsError: this is a project's folder, and its params.yaml is wrong.
    """
    here = Path.cwd()
    if not ((here / "params.yaml").is_file() and (here / "dvc.yaml").is_file()):
        yield os.environ
        return
    with store_environment(here, Params.load(here / "params.yaml").publish) as added:
        yield os.environ | added


def hold_server(root: Path, publish: PublishParams) -> dict[str, str]:
    """Start the embedded server and keep it up until `release_server`; returns what `store_environment` gives."""
    if not is_embedded(publish):
        return _own_store(publish)
    folder = state_folder(root)
    with leases.locked(folder):
        leases.hold(folder)
    return _started(folder, publish)


def release_server(root: Path) -> bool:
    """End the hold; True when the server is stopped now, False while somebody still uses it."""
    folder = state_folder(root)
    if not folder.exists():
        return True
    with leases.locked(folder):
        leases.drop_hold(folder)
        _stop_if_unused(folder)
        return weed.running(folder) is None


def stop_unused(root: Path) -> None:
    """Stop the embedded server if nobody living uses it, as after a user that was killed."""
    folder = state_folder(root)
    if folder.exists():
        with leases.locked(folder):
            _stop_if_unused(folder)


def server_state(root: Path, publish: PublishParams) -> ServerState:
    """How the store stands, without starting anything."""
    if not is_embedded(publish):
        own = connect(publish.bucket, os.environ | _own_store(publish))
        return ServerState(embedded=False, running=True, endpoint=own.endpoint, bucket=publish.bucket)
    folder = state_folder(root)
    if not folder.exists():
        return ServerState(embedded=True, running=False, endpoint=None, bucket=publish.bucket, folder=folder)
    with leases.locked(folder):
        state, users = weed.running(folder), tuple(leases.holders(folder))
    endpoint = weed.environment_of(folder, state)["AWS_ENDPOINT_URL"] if state else None
    return ServerState(True, state is not None, endpoint, publish.bucket, users, folder, folder_bytes(folder / "data"))


def _started(folder: Path, publish: PublishParams) -> dict[str, str]:
    with leases.locked(folder):
        state = weed.running(folder)
        if state is None or not _answers(folder, state, publish.bucket):
            state = weed.start(folder, publish.bucket)
        environment = weed.environment_of(folder, state)
        make_buckets(connect(publish.bucket, environment), (publish.bucket, DVC_BUCKET))
    return environment | _no_proxy()


def _answers(folder: Path, state: dict[str, Any], bucket: str) -> bool:
    store = connect(bucket, weed.environment_of(folder, state))
    with contextlib.suppress(StorageRefused, StorageUnavailable):
        make_buckets(store, ())
        return True
    return False


def _stop_if_unused(folder: Path) -> None:
    if not leases.holders(folder):
        weed.stop(folder)


def _own_store(publish: PublishParams) -> dict[str, str]:
    refuse_secrets(publish.endpoint_url)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
    if publish.endpoint_url is None:
        return {"AWS_DEFAULT_REGION": region}
    return {"AWS_ENDPOINT_URL": publish.endpoint_url, "AWS_ENDPOINT_URL_S3": publish.endpoint_url, "AWS_DEFAULT_REGION": region}


def _no_proxy() -> dict[str, str]:
    if not any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return {}
    listed = [part for part in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",") if part]
    value = ",".join([*listed, "127.0.0.1"])
    return {"no_proxy": value, "NO_PROXY": value}
