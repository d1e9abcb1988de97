"""What an answer of an S3 store must be like, looked at before botocore reads it; whatever else answers is no S3 store.

botocore follows redirects until the stack is full, takes any page with status 200 for an empty listing, and a write for done without a tag.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from slimline.errors import StorageRefused
from slimline.storage.url import plain

TAGGED = {"GetObject", "HeadObject", "PutObject", "UploadPart"}
"""The operations whose answer carries an ETag header; conditional writes and whole uploads stand on it."""
LISTS = {"ListObjectsV2": "ListBucketResult", "ListBuckets": "ListAllMyBucketsResult"}
"""The root of the XML that answers them."""
_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<([A-Za-z]+)[\s>/]")


def demand_s3(client: Any, bucket: str) -> None:
    """Let a boto3 client raise StorageRefused at each answer that no S3 store gives."""

    def look(operation_model: Any, response_dict: Any, **_: Any) -> None:
        problem = strange(operation_model.name, response_dict["status_code"], response_dict["headers"], response_dict["body"])
        if problem:
            where = f"S3 store {plain(client.meta.endpoint_url)}"
            raise StorageRefused(f"{where}: {problem} (bucket {bucket!r}); correct AWS_ENDPOINT_URL or publish.endpoint_url")

    client.meta.events.register_first("before-parse.s3.*", look)


def strange(operation: str, status: int, headers: Any, body: Any) -> str | None:
    """What is wrong with an answer; None where it may be an S3 store's. `body` is bytes, or a stream for a download."""
    if 300 <= status < 400 and status != 304 and "x-amz-bucket-region" not in headers and not _names_an_error(body):
        return f"sends requests on to {urlsplit(headers.get('location', '')).hostname or 'nowhere'} ({status}), which no S3 store does here"
    if not 200 <= status < 300:
        return None
    if operation in TAGGED and not headers.get("etag"):
        return f"answers {operation} without an ETag, so it is no S3 store"
    if operation in {"GetObject", "HeadObject"} and not headers.get("content-length", "").isdigit():
        return f"answers {operation} without a Content-Length, so it is no S3 store"
    if operation in LISTS and ((root := _ROOT.match(body)) is None or root[1] != LISTS[operation].encode()):
        return f"answers {operation} with {_kind(headers, body)}, so it is no S3 store"
    return None


def _names_an_error(body: Any) -> bool:
    return isinstance(body, bytes) and (root := _ROOT.match(body)) is not None and root[1] == b"Error"


def _kind(headers: Any, body: bytes) -> str:
    if not body.strip():
        return "nothing"
    return "a web page" if "html" in headers.get("content-type", "") or b"<html" in body[:500].lower() else "something else"
