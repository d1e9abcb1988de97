"""The borders to files and runtimes: whatever a library raises over them is told as our error, in one line.

A file may hold anything, and a graph may ask anything of the runtime that is given it: no list of exception types is ever whole, and
some libraries derive theirs from Exception alone. A context manager sees whatever leaves its block without an except clause, so there
is one such place and nothing is swallowed: what it cannot name goes on as the error's cause. Our own errors, an interrupt and an exit
pass as they are.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from slimline.errors import ArtifactError, DiskError, SlimlineError

DISK = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""The system's words for a disk that fails, is full or is read-only: nobody's input is wrong then."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Those of them that say that it is full."""
NO_MEMORY = ("allocate memory", "out of memory")
"""What torch and the runtimes say, in a RuntimeError, where memory is used up."""
LONGEST = 300
"""Characters of a foreign message that are shown."""
STACK = "\nException raised from "
"""What torch says before its C++ stack."""


@dataclass(frozen=True)
class told_as:  # noqa: N801 - read as words: with told_as(lambda reason: ArtifactError(f"{path}: {reason}"))
    """Around whatever reads a file or runs a graph: `tell` makes our error of the reason, one line.

    Raises:
        SlimlineError: on exit, what `tell` makes of whatever was raised inside.
        DiskError: on exit, where the disk failed.
    """

    tell: Callable[[str], SlimlineError]

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if isinstance(error, OSError) and error.errno in DISK:
            raise disk_error(error) from error
        if isinstance(error, Exception) and not isinstance(error, SlimlineError):
            raise self.tell(reason_of(error)) from error
        return False


class attempted:  # noqa: N801 - read as a word
    """Around what is tried without memory before it is done: whatever stops it there is said again when it is done; a refusal is final."""

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        return isinstance(error, Exception) and not isinstance(error, ArtifactError)


def reason_of(error: BaseException) -> str:
    """What a foreign error says, in one line of bearable length."""
    if isinstance(error, MemoryError):
        return "it takes more than this machine has memory for"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).partition(STACK)[0].split())
    told = text if text and not isinstance(error, LookupError) else f"{type(error).__name__} {text}".strip()
    return told if len(told) <= LONGEST else f"{told[:LONGEST]}…"


@contextmanager
def told_of_the_disk(doing: str) -> Iterator[None]:
    """Around a whole process: what the system refused, and nobody nearer has told, is one line; `doing` is what was probably written.

    Raises:
        DiskError: on exit, in place of an OSError.
        SystemExit: whoever read the output has gone: the process ends in silence, as is usual.
    """
    try:
        yield
    except BrokenPipeError:
        raise SystemExit(1) from None
    except OSError as error:
        raise disk_error(error, doing) from error


def disk_error(error: OSError, doing: str = "a file") -> DiskError:
    """What the system refused, where, and what to do."""
    place = str(error.filename or doing)
    if error.errno in FULL:
        return DiskError(f"disk full while writing {place}; free some space and run again, what was finished is kept")
    return DiskError(f"{place}: {reason_of(error)}; mend it and run again")


def lacks_room(error: BaseException | None) -> bool:
    """Whether memory or a disk was used up, be it told as another error since."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY):
            return True
        error = error.__cause__
    return False
