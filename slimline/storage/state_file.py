"""The files in which Slimline keeps its state between commands (.slimline/, .dvc/tmp/): the one reader of all of them.

A crash, a full disk or another program may leave anything in their place. What is damaged is set aside under a name that says so, and
the command goes on as if there were none; what the system does not let us read is one line.
"""

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from slimline.errors import SlimlineError

log = logging.getLogger(__name__)
Content = TypeVar("Content")
DAMAGED_NAME = ".damaged-"
DAMAGED = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError, IsADirectoryError)
"""What reading a file raises that is no UTF-8, no JSON, or JSON of another shape, and where a folder stands in its place."""


def read_state(path: Path, made_of: Callable[[Any], Content]) -> Content | None:
    """What `made_of` makes of a file's JSON; None where there is no file, or where it was damaged and is set aside now.

    Raises:
        SlimlineError: the system does not let us read it or move it.
    """
    return read_state_text(path, lambda text: made_of(json.loads(text)))


def read_state_text(path: Path, made_of: Callable[[str], Content]) -> Content | None:
    """The same of a file that is no JSON; `made_of` raises one of DAMAGED where its text is of the wrong form."""
    try:
        return made_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except DAMAGED:
        set_aside(path)
        return None
    except OSError as error:
        raise refusal(error, path) from None


def state_folder_at(path: Path, mode: int = 0o777) -> Path:
    """The folder, made where it is missing; a file that stands in its place is set aside.

    Raises:
        SlimlineError: the system does not let us make it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except (FileExistsError, NotADirectoryError):
        set_aside(next(above for above in (*reversed(path.parents), path) if above.exists() and not above.is_dir()))
        return state_folder_at(path, mode)
    except OSError as error:
        raise refusal(error, path) from None
    return path


def set_aside(path: Path) -> Path:
    """Give a damaged file or folder the name NAME.damaged-N, say so in the log, and return where it is now.

    Raises:
        SlimlineError: the system does not let us move it.
    """
    aside = next(free for number in range(1, 1 << 20) if not (free := path.with_name(f"{path.name}{DAMAGED_NAME}{number}")).exists())
    try:
        path.rename(aside)
    except FileNotFoundError:  # somebody else has just done so
        return aside
    except OSError as error:
        raise refusal(error, path) from None
    log.warning("%s was damaged; it is kept as %s, and a new one takes its place", path, aside.name)
    return aside


def refusal(error: OSError, path: Path) -> SlimlineError:
    """What the system refused, where, and the command that mends it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SlimlineError(f"disk full while writing {path}; free some space and run again, finished stages are kept")
    remedy = f"give yourself the right to it (chmod -R u+rwX {path.parent}), or remove it: rm -r {path}"
    return SlimlineError(f"{path}: {error.strerror}; {remedy}")
