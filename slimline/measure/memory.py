"""Memory: the most that a process ever held."""

import re
from pathlib import Path

from slimline.errors import StageError

STATUS = Path("/proc/self/status")


def peak_memory_bytes(status: Path = STATUS) -> int:
    """VmHWM, the largest resident set of the process so far; a fresh process starts from nothing.

    Raises:
        StageError: the system has no such figure (it is Linux's).
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE) if status.is_file() else None
    if not found:
        raise StageError(f"{status}: tells no VmHWM, so peak memory cannot be measured; evaluate on Linux")
    return int(found[1]) * 1024
