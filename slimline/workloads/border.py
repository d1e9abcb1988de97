"""The border to code that is not ours: whatever a workload or one of its nets raises is told as theirs, in one line.

It stands where control goes from us to them: around every member that is called (`theirs`, by guarded.py), and around a whole
process (`through_their_code`), for what their nets raise in `forward`, wherever that is called. A context manager sees whatever
leaves its block without an except clause: nobody's exception classes have to be listed, `SystemExit` and `MemoryError` are among
them, and nothing is swallowed. Only an interrupt by the user and our own errors pass as they are.
"""

import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal

from slimline.errors import SlimlineError, WorkloadError
from slimline.workloads.known import known_workloads

OURS = frozenset({"slimline", "tasks", "flows"})
LONGEST = 300
"""Characters of a foreign message that are shown."""


@dataclass(frozen=True)
class theirs:  # noqa: N801 - read as words: with theirs(name, "loss()")
    """Around a call of one of their functions: whatever it raises is told as theirs.

    Raises:
        WorkloadError: on exit, in place of whatever was raised inside.
    """

    name: str
    doing: str

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if error is None or _passes(error):
            return False
        raise WorkloadError(f"workload {self.name!r}: {self.doing} raised {told(error, self.name)}; mend it there") from error


@dataclass(frozen=True)
class through_their_code:  # noqa: N801 - as `theirs`
    """Around a process: what their code raised, called from wherever (a net's `forward`), is told as theirs; all else goes on as it is.

    An error is theirs where of all frames that are theirs or ours the innermost one is theirs: a hook of ours may run inside their
    net, and its mistakes are ours.

    Raises:
        WorkloadError: on exit, in place of what their code raised.
    """

    name: str

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if error is None or _passes(error) or (frame := _innermost(error, self.name)) is None:
            return False
        raise WorkloadError(f"workload {self.name!r}: {frame.f_code.co_qualname} raised {told(error, self.name)}; mend it there") from error


def told(error: BaseException, name: str) -> str:
    """An error of their code in one line, with the place in their code that it came from: `KeyError: 'x' (wine.py, line 12)`."""
    *_, last = traceback.TracebackException(type(error), error, None).format_exception_only()
    text = " ".join(last.split())
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return f"{shown}{'' if isinstance(error, SyntaxError) else _place(error, name)}"


def _passes(error: BaseException) -> bool:
    return isinstance(error, SlimlineError | KeyboardInterrupt)


def _place(error: BaseException, name: str) -> str:
    steps = [step for step in _steps(error) if _package(step[0]) not in OURS or _package(step[0]) == _own_package(name)]
    if not (places := [step for step in steps if _is_theirs(step[0], name)] or steps):
        return ""
    frame, line = places[-1]
    return f" ({Path(frame.f_code.co_filename).name}, line {line})"


def _innermost(error: BaseException, name: str) -> FrameType | None:
    """Their frame that the error came through last, if none of ours came after it."""
    known = [frame for frame, _ in _steps(error) if _is_theirs(frame, name) or _package(frame) in OURS]
    return known[-1] if known and _is_theirs(known[-1], name) else None


def _steps(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Frames and lines from the outermost on; those of an error that this one was raised from come after its own.

    A StopIteration inside a generator of ours comes out as a RuntimeError from it.
    """
    yield from traceback.walk_tb(error.__traceback__)
    if isinstance(error.__cause__, StopIteration):
        yield from _steps(error.__cause__)


def _is_theirs(frame: FrameType, name: str) -> bool:
    """Whether a frame runs code of the workload: of its own package, or of a file that is neither ours nor installed."""
    package, file = _package(frame), Path(frame.f_code.co_filename)
    if package in OURS or not file.is_file():
        return False
    return package == _own_package(name) or not any(file.resolve().is_relative_to(place) for place in _installed())


def _package(frame: FrameType) -> str:
    """The top package of a frame's module, by the name that `python -m` was given where it is the main one."""
    spec = frame.f_globals.get("__spec__")
    return str(getattr(spec, "name", None) or frame.f_globals.get("__name__", "")).partition(".")[0]


def _own_package(name: str) -> str:
    """The package that an installed workload comes in; empty for a file's."""
    return "" if ".py:" in name else known_workloads().get(name, "").partition(":")[0].partition(".")[0]


def _installed() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")})
