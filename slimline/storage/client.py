"""The connection to one S3 bucket, and everything that goes wrong with it as one clear line."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import s3transfer.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as EndpointError

from slimline.errors import SlimlineError, StorageRefused, StorageUnavailable
from slimline.storage.answers import demand_s3
from slimline.storage.url import refuse_secrets

REGION = "us-east-1"
TURNS = "SLIMLINE_S3_TURNS"
"""Names the folder by whose lock the processes of this machine take turns at conditional writes to the embedded server."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 15
ATTEMPTS = 3
KEY_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId", "AuthFailure"}
BUSY = {408, 425, 429}
THROTTLED = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"}
OTHER_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "301", "IllegalLocationConstraintException"}


@dataclass(frozen=True)
class Store:
    """One bucket, where it is, a boto3 client for it, and the folder whose lock orders conditional writes, if there is one."""

    bucket: str
    endpoint: str
    client: Any = field(repr=False)
    turns: Path | None = field(default=None, repr=False)

    def url(self, key: str) -> str:
        """The s3:// address of a key."""
        return f"s3://{self.bucket}/{key}"


def connect(bucket: str, environment: Mapping[str, str] | None = None) -> Store:
    """A store from the usual AWS settings; sends nothing yet.

    `environment` stands in for the process's own (what `store_environment` yields is added to it by the caller).
    Path-style addresses, a few quick retries, and a checksum on every upload and download.

    Raises:
        StorageRefused: the AWS settings themselves are wrong (unknown profile, malformed endpoint).
    """
    settings = os.environ if environment is None else environment
    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL") or None
    refuse_secrets(endpoint)
    try:
        session = boto3.Session(
            aws_access_key_id=settings.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=settings.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=settings.get("AWS_SESSION_TOKEN"),
            region_name=settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION") or REGION,
            profile_name=settings.get("AWS_PROFILE"),
        )
        client = session.client("s3", endpoint_url=endpoint, config=_config(endpoint))
    except (BotoCoreError, ValueError) as error:
        raise StorageRefused(f"S3 settings: {_one_line(error)}; look at AWS_* in the environment and publish.endpoint_url") from None
    refuse_secrets(client.meta.endpoint_url)
    demand_s3(client, bucket)
    turns = settings.get(TURNS)
    return Store(bucket, client.meta.endpoint_url, client, Path(turns) if turns and _is_here(endpoint) else None)


def _config(endpoint: str | None) -> Config:
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        request_checksum_calculation="when_supported",
        response_checksum_validation="when_supported",
        proxies={} if _is_here(endpoint) else None,
    )


def _is_here(endpoint: str | None) -> bool:
    return endpoint is not None and urlsplit(endpoint).hostname in LOOPBACK


@contextlib.contextmanager
def explained(store: Store, doing: str) -> Iterator[None]:
    """Turn what botocore, s3transfer and urllib3 raise inside the block into one line that says what to do.

    What they raise where an answer is no S3 store's (KeyError, ValueError, …) is told as such; nothing else may stand in the block.

    Raises:
        StorageUnavailable: the store does not answer, or answers that it cannot now.
        StorageRefused: wrong key, missing bucket, no right to do this, or settings that cannot work.
    """
    try:
        yield
    except ClientError as error:
        raise _from_answer(store, doing, error) from None
    except (HTTPClientError, EndpointError, IncompleteReadError, s3transfer.exceptions.RetriesExceededError) as error:
        raise StorageUnavailable(
            f"S3 store {store.endpoint} does not answer while {doing} ({_one_line(error)}); "
            "start it, or correct AWS_ENDPOINT_URL or publish.endpoint_url"
        ) from None
    except FlexibleChecksumError:
        raise StorageUnavailable(f"S3 store {store.endpoint} sent damaged bytes while {doing}; run again, then check its disk") from None
    except BotoCoreError as error:
        raise StorageRefused(
            f"S3 store {store.endpoint}: {doing}: {_one_line(error)}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or run it as `slimline s3 -- COMMAND` for the embedded server"
        ) from None
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise StorageRefused(
            f"S3 store {store.endpoint} answers {doing} with what no S3 store says ({type(error).__name__}: {_one_line(error)}); "
            "correct AWS_ENDPOINT_URL or publish.endpoint_url"
        ) from None


def status_of(error: ClientError) -> int:
    """The HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing_key(error: ClientError) -> bool:
    """Whether the object (not its bucket) is missing."""
    return status_of(error) == 404 and error.response["Error"]["Code"] in ("NoSuchKey", "404", "NotFound")


def _from_answer(store: Store, doing: str, error: ClientError) -> SlimlineError:
    code, status = _one_line(error.response["Error"].get("Code", "no code")), status_of(error)
    where = f"S3 store {store.endpoint}"
    if code == "NoSuchBucket":
        return StorageRefused(f"{where}: bucket {store.bucket!r} does not exist; create it, or correct the bucket in params.yaml")
    if code in OTHER_REGION:
        return StorageRefused(f"{where}: bucket {store.bucket!r} is in another region ({code}); set AWS_DEFAULT_REGION to it")
    if code in KEY_REFUSED or status == 401:
        return StorageRefused(f"{where} refuses the key while {doing} ({code}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if code == "RequestTimeTooSkewed":
        return StorageRefused(f"{where}: the clock of this machine differs from the store's while {doing}; set it, then run again")
    if status == 403:
        return StorageRefused(f"{where}: no right for {doing} in bucket {store.bucket!r} ({code}); use a key or a publish.bucket with it")
    if (status >= 500 and status != 501) or status in BUSY or code in THROTTLED:
        return StorageUnavailable(
            f"{where} cannot serve {doing} now ({status} {code}); look at its log and disk, or correct its address, then run again"
        )
    said = _one_line(error.response["Error"].get("Message", code))
    return StorageRefused(
        f"{where} refuses {doing} in bucket {store.bucket!r} ({status} {code}: {said}); set publish.* to a store that can"
    )


def _one_line(error: object) -> str:
    """What somebody else's error says, on one line, without what a terminal would obey and without an address's user and password."""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return re.sub(r"//[^/@\s]+@", "//…@", " ".join(shown.split()))[:240]
