"""Try out the project's store: does it answer, take the key, hold the bucket, write, and write conditionally?"""

from pathlib import Path

from slimline.params import PublishParams
from slimline.storage.objects import check_writes
from slimline.storage.server import is_embedded, opened_store


def probe_store(root: Path, publish: PublishParams) -> str:
    """One line on what was seen, after a read, a write and a conditional write.

    Raises:
        StorageUnavailable: the store does not answer.
        StorageRefused: wrong key, missing bucket, no right to write, or conditional writes are ignored.
    """
    with opened_store(root, publish) as store:
        check_writes(store)
        kind = "embedded SeaweedFS" if is_embedded(publish) else "S3"
        return f"{kind} at {store.endpoint}, bucket {store.bucket}: reads, writes and conditional writes work"
