"""Loaded as `sitecustomize` by every Python process of a run: notes that it started and each address that it tries to reach.

What the fork server forks inherits it, and says by an audit event what it has become.
"""

import os
import sys
from typing import Any

LOG = os.environ.get("SLIMLINE_OUTGOING_LOG")
WITH_ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
WITH_NAME = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WITH_ADDRESS:
        address = arguments[1]
        told = address[0] if isinstance(address, tuple) else address
    elif event in WITH_NAME:
        told = arguments[0]
    elif event == "flows.forkserver.began":
        event, told = "started", None
    else:
        return
    _write(event, told)


def _write(event: str, told: Any) -> None:
    with open(LOG, "a", encoding="utf-8") as stream:  # noqa: PTH123 - pathlib is not imported in every process
        stream.write(f"{event}\t{told!r}\t{' '.join(sys.orig_argv)[:200]}\n")


if LOG:
    _write("started", None)
    sys.addaudithook(_note)
