"""Waiting for what another process or thread does: as long as it takes, since a loaded machine is no failure."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], seconds: float = 60, every_s: float = 0.05) -> Found:
    """What `look` finds as soon as it finds something, or its last empty answer."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(every_s)
    return found
