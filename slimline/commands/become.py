"""A command that becomes a program of the project: one process, so that whatever ends the command ends its work."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from slimline.errors import InputError
from slimline.project import find_project


def become(command: str, module: str, arguments: Sequence[str], *, hears_signals: bool = True) -> NoReturn:
    """Go on as `python -m MODULE` in the project around this folder.

    Signals are held back until the program listens for them, if it does (`hears_signals`).

    Raises:
        InputError: the project has no such program.
    """
    project, file = find_project(), f"{module.replace('.', '/')}.py"
    if not (project / file).is_file():
        raise InputError(f"{project}: no {file}; `slimline {command}` works in a clone of the Slimline project (`dvc repro` anywhere)")
    os.chdir(project)
    if hears_signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
