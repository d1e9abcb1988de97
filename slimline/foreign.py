"""Code that is not ours: an error that came out of it, told in one line with the place in their code that it came from.

A context manager sees whatever leaves its block without an except clause: nobody's exception classes have to be listed, `SystemExit`
and `MemoryError` are among them, and nothing is swallowed.
"""

import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Literal

from slimline.errors import SlimlineError

OURS = frozenset({"slimline", "tasks", "flows"})
LONGEST = 300
"""Characters of a foreign message that are shown."""


@dataclass(frozen=True)
class their_call:  # noqa: N801 - read as words: with their_call(WorkloadError, "workload 'wine': loss()")
    """Around a call of one of their functions, named by `doing`: whatever it raises is told as theirs.

    Raises:
        SlimlineError: on exit, a `kind` in place of whatever was raised inside.
    """

    kind: type[SlimlineError]
    doing: str
    own_package: Callable[[], str] = str

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if error is None or passes(error):
            return False
        raise self.kind(f"{self.doing} raised {told(error, self.own_package())}; mend it there") from error


@dataclass(frozen=True)
class library_call:  # noqa: N801 - read as words: with library_call(lambda reason: Impossible(f"compile: XLA cannot lower it: {reason}"))
    """Around work that a library does on what it may not be made for: what the library raises is told as ours, by `tell`.

    A mistake of ours, whose last frame is ours, passes as it is; so do full disks, missing packages and memory that is used up, which
    are told elsewhere, and what the user's own code raises.

    Raises:
        SlimlineError: on exit, what `tell` makes of what the library raised.
    """

    tell: Callable[[str], SlimlineError]

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if (
            isinstance(error, Exception)
            and not isinstance(error, SlimlineError | OSError | ImportError | MemoryError)
            and _of_library(error)
        ):
            raise self.tell(told(error)) from error
        return False


def told(error: BaseException, own_package: str = "") -> str:
    """An error in one line, with the place in their code: `KeyError: 'x' (wine.py, line 12)`.

    Theirs is what lies in `own_package`, or in a file that is neither ours nor installed.
    """
    *_, last = traceback.TracebackException(type(error), error, None).format_exception_only()
    text = " ".join(last.split())
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return f"{shown}{'' if isinstance(error, SyntaxError) else _place(error, own_package)}"


def module_of_file(path: Path, prefix: str) -> ModuleType:
    """A Python file as a new module, named by the prefix and the file's name.

    Raises:
        ImportError: it is no Python file; and whatever its code raises.
    """
    spec = importlib.util.spec_from_file_location(f"{prefix}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def passes(error: BaseException) -> bool:
    """Whether it goes on as it is: an interrupt by the user, or an error of ours."""
    return isinstance(error, SlimlineError | KeyboardInterrupt)


def innermost(error: BaseException, own_package: str = "") -> FrameType | None:
    """Their frame that the error came through last, if none of ours came after it."""
    known = [frame for frame, _ in _steps(error) if _is_theirs(frame, own_package) or _package(frame) in OURS]
    return known[-1] if known and _is_theirs(known[-1], own_package) else None


def _of_library(error: BaseException) -> bool:
    """Whether it came out of an installed package."""
    *_, (last, _) = _steps(error)
    return _package(last) not in OURS and not _is_theirs(last, "")


def _place(error: BaseException, own_package: str) -> str:
    steps = [step for step in _steps(error) if _package(step[0]) not in OURS or _package(step[0]) == own_package]
    if not (places := [step for step in steps if _is_theirs(step[0], own_package)] or steps):
        return ""
    frame, line = places[-1]
    return f" ({Path(frame.f_code.co_filename).name}, line {line})"


def _steps(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Frames and lines from the outermost on; those of an error that this one was raised from come after its own.

    A StopIteration inside a generator of ours comes out as a RuntimeError from it.
    """
    yield from traceback.walk_tb(error.__traceback__)
    if isinstance(error.__cause__, StopIteration):
        yield from _steps(error.__cause__)


def _is_theirs(frame: FrameType, own_package: str) -> bool:
    """Whether a frame runs their code: of their own package, or of a file that is neither ours nor installed."""
    package, file = _package(frame), Path(frame.f_code.co_filename)
    if package in OURS or not file.is_file():
        return False
    return package == own_package or not any(file.resolve().is_relative_to(place) for place in _installed())


def _package(frame: FrameType) -> str:
    """The top package of a frame's module, by the name that `python -m` was given where it is the main one."""
    spec = frame.f_globals.get("__spec__")
    return str(getattr(spec, "name", None) or frame.f_globals.get("__name__", "")).partition(".")[0]


def _installed() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")})
