"""Loaded by every Python process of a run that benchmarks/line_cost.py measures: what the process was, and its CPU seconds at its turns.

A stage's own work begins when it opens params.yaml, behind all its imports, and its report when it first writes below reports/stages. A
process that the fork server forks inherits all this; its clock begins at the fork.
"""

import atexit
import json
import os
import resource
import sys
import time
from typing import Any

FOLDER = os.environ.get("SLIMLINE_LINE_COST")
TURNS = (("params.yaml", "work"), ("reports/stages/", "report"))
_found: dict[str, float] = {}


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        for text, turn in TURNS:
            if text in arguments[0] and turn not in _found:
                _found[turn] = time.process_time()
    elif event == "flows.forkserver.began":
        _found.clear()


def _tell() -> None:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = {"command": sys.orig_argv, "own_s": time.process_time(), "children_s": children.ru_utime + children.ru_stime, **_found}
    with open(f"{FOLDER}/{os.getpid()}-{time.monotonic_ns()}.json", "w", encoding="utf-8") as stream:  # noqa: PTH123 - pathlib is not everywhere
        json.dump(told, stream)


if FOLDER:
    sys.addaudithook(_note)
    atexit.register(_tell)
