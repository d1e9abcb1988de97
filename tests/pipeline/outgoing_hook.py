"""Loaded as `sitecustomize` by every Python process of a run: notes each address that it tries to reach."""

import os
import sys
from typing import Any

LOG = os.environ.get("SLIMLINE_OUTGOING_LOG")


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        told = address if isinstance(address, str | bytes) else address[0]
    elif event == "socket.getaddrinfo":
        told = arguments[0]
    else:
        return
    with open(LOG, "a", encoding="utf-8") as stream:  # noqa: PTH123 - pathlib is not imported in every process
        stream.write(f"{event}\t{told!r}\t{' '.join(sys.orig_argv)[:200]}\n")


if LOG:
    sys.addaudithook(_note)
