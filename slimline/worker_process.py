"""The process behind a `slimline.worker.Worker`: a model, and one JSON line of answer for each JSON line of request.

    python -m slimline.worker_process LOCATION --threads 1
    python -m slimline.worker_process LOCATION --threads 1 --relaunches

A request names what it wants: predict, turns, generate, memory. Everything else that a runtime prints goes to stderr. With
`--relaunches` the model is loaded by a child that is forked once the runtime is imported, and the request `relaunch` ends that child for
a fresh one: what a launch decides (where its pages and caches fall) is decided anew, and nothing is imported twice.
"""

import argparse
import ctypes
import dataclasses
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.arrays import read_arrays, write_arrays
from slimline.errors import SlimlineError
from slimline.measure.memory import peak_memory_bytes
from slimline.measure.timing import Turn, take_turn
from slimline.workloads.border import through_their_code

if TYPE_CHECKING:
    from slimline.model import Model

TASKS = Path("/proc/self/task")
RELAUNCH = 75
"""How a child ends that another one is to follow."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent ends."""

Request = Mapping[str, Any]


def serve(location: str, threads: int, workload: str | None, requests: Iterator[str], answer: Callable[[Request], None]) -> None:
    """The child's whole life: load the model, then answer requests until there are no more."""
    from slimline.runtime import load

    model = load(location, threads=threads, workload=workload, trust_code=True)  # the line's own artifacts
    timed = functools.cache(functools.partial(_timed, model))
    doing: dict[str, Callable[[Request], Request]] = {
        "predict": lambda request: _predict(model, request),
        "turns": lambda request: {"turns": [dataclasses.asdict(turn) for turn in timed(request["inputs"])(request["samples"])]},
        "generate": lambda request: _generated(model, request),
        "memory": lambda _request: {"bytes": peak_memory_bytes()},
    }
    answer({"execution": dict(model.execution), "threads": sum(1 for _ in TASKS.iterdir()) if TASKS.is_dir() else None})
    for line in requests:
        request = json.loads(line)
        if request["do"] == "relaunch":
            os._exit(RELAUNCH)
        answer(doing[request["do"]](request))


def _predict(model: "Model", request: Request) -> Request:
    from slimline.loaders import joined, pieces

    inputs = model.checked(read_arrays(Path(request["inputs"])))
    count = len(next(iter(inputs.values())))
    found = [model.run(piece) for piece in pieces(inputs, request["batch_size"] or count)]
    if isinstance(found[0], dict):
        parts = [list(outputs.values()) for outputs in found if isinstance(outputs, dict)]
        write_arrays(Path(request["outputs"]), dict(zip(found[0], joined(parts), strict=True)))
    else:
        write_arrays(Path(request["outputs"]), joined([[outputs] for outputs in found if not isinstance(outputs, dict)])[0])
    return {"samples": count}


def _generated(model: "Model", request: Request) -> Request:
    from slimline.generation import Sampling

    plain = request["sampling"]
    sampling = Sampling(**{**plain, "stop": tuple(plain["stop"])})
    return {"answers": [dataclasses.asdict(answer) for answer in model.generator.generate_many(request["prompts"], sampling)]}


def _timed(model: "Model", path: str) -> Callable[[int], tuple[Turn, ...]]:
    """What times so many samples on stored arrays."""
    from slimline.generation.pace import call_of, is_pace, take_answers

    arrays = read_arrays(Path(path))
    if is_pace(arrays):
        return functools.partial(take_answers, call_of(model.pacing, arrays))
    call = functools.partial(model.run, model.checked(arrays))
    return lambda samples: (take_turn(call, samples),)


def _own_stdout() -> int:
    """Keep the pipe to the parent for answers alone: whatever prints to stdout goes to stderr."""
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _forked(location: str) -> None:
    """Import the model's runtime and return in a child; the parent forks another one where that asks for it, and ends as any other did."""
    from slimline.runtime import import_runtime

    import_runtime(location)
    parent = os.getpid()
    while (child := os.fork()) != 0:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0:
            os.kill(parent, -code)
        elif code != RELAUNCH:
            os._exit(code)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slimline.worker_process", description=__doc__)
    parser.add_argument("location")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workload", default=None)
    parser.add_argument("--relaunches", action="store_true")
    arguments = parser.parse_args()
    pipe = _own_stdout()

    def answer(message: Request) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    try:
        if arguments.relaunches:
            _forked(arguments.location)
        with through_their_code(arguments.workload or ""):
            serve(arguments.location, arguments.threads, arguments.workload, iter(sys.stdin.readline, ""), answer)
    except SlimlineError as error:
        answer({"error": str(error), "kind": type(error).__name__})
    os._exit(0)  # a runtime's tear-down takes up to a second, and some crash in it; nothing is left to save


if __name__ == "__main__":
    _main()
