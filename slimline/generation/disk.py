"""What caches keep on disk: text and bytes of bounded size, safe over processes; nothing is ever pickled or unpickled."""

from pathlib import Path
from typing import Any

import diskcache

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError


class PlainDisk(diskcache.Disk):  # type: ignore[misc] # it has no stubs
    """Stores str, bytes and numbers as they are; diskcache itself would pickle anything else, and unpickle what it finds.

    https://grantjenks.com/docs/diskcache/tutorial.html#disk
    """

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
        """Raises TypeError on what would be pickled."""
        if not isinstance(value, str | bytes | int | float):
            raise TypeError(f"a cache holds text, bytes and numbers, not {type(value).__name__}")
        return super().store(value, read, key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Raises ValueError on an entry that is a pickle."""
        if mode == diskcache.core.MODE_PICKLE:
            raise ValueError("an entry is a pickle, which no cache of slimline writes")
        return super().fetch(mode, filename, value, read)


def opened(folder: Path | None, size_bytes: int) -> diskcache.Cache:
    """The cache in a folder, made where it is missing; without a folder in a new one below the system's place for such.

    What was used least recently goes once it takes more than `size_bytes`.

    Raises:
        ArtifactError: the folder holds something else, or cannot be written.
    """
    with told_as(lambda reason: ArtifactError(f"{folder}: is no cache that can be used: {reason}; remove it or name another folder")):
        place = None if folder is None else str(folder)
        return diskcache.Cache(place, disk=PlainDisk, size_limit=size_bytes, eviction_policy="least-recently-used", statistics=0)
