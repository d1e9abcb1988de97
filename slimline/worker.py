"""One model in a process of its own: its runtime's threads are fixed, its memory is its own, and its crash harms nobody.

    python -m slimline.worker LOCATION --threads 1

reads one JSON request a line and answers with one JSON line each: predict, turn, generate, memory. Everything else that a runtime
prints goes to stderr. `Worker` is the other end of the pipes.
"""

import argparse
import dataclasses
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from slimline import errors
from slimline.artifact.arrays import read_arrays, read_outputs, write_arrays
from slimline.artifact.signature import Arrays
from slimline.errors import MachineError, SlimlineError
from slimline.measure.memory import peak_memory_bytes
from slimline.measure.timing import Sample, Turn, take_turn
from slimline.workloads.border import through_their_code

if TYPE_CHECKING:
    from slimline.generation import Generation, Sampling
    from slimline.model import Model

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TIMEOUT_S = 300.0
GRACE_S = 5.0
TASKS = Path("/proc/self/task")

Array = NDArray[Any]
Outputs = Array | dict[str, Array]
"""One array [N, …], or several by name."""
Request = Mapping[str, Any]


class Worker:
    """A model loaded in a child process; use it as a context manager.

    `location` is anything that slimline.runtime.load takes; a plain variant folder runs in eager PyTorch. The child is
    started on entry and waited for at the first request, so that several load side by side.
    """

    def __init__(self, location: Path | str, *, threads: int = 1, workload: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.location = Path(location) if "://" not in str(location) else location
        self.threads = threads
        self._workload = workload
        self._timeout_s = timeout_s
        self._pending = b""
        self._state: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "slimline.worker", str(self.location), "--threads", str(self.threads)]
        command += ["--workload", self._workload] if self._workload else []
        self._scratch = tempfile.TemporaryDirectory(prefix="slimline-worker-")
        self._errors = (Path(self._scratch.name) / "stderr").open("w+b")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0, env=_environment(self.threads)
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the child: it leaves at the end of its input, and is killed where it does not."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(GRACE_S if kind is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._scratch.cleanup()

    @property
    def state(self) -> dict[str, Any]:
        """Waits until the model is loaded: {"execution": how the runtime is configured, "threads": those of the process}.

        Raises:
            SlimlineError: what loading raised, in the child.
            MachineError: the child died, or did not answer in time.
        """
        return self._wait()

    def predict(self, inputs: Arrays | Path, batch_size: int | None = None) -> Outputs:
        """The outputs for inputs by name, or stored in a .npz file (see slimline.artifact.arrays), in batches of at most so many."""
        given, wanted = (Path(self._scratch.name) / name for name in ("inputs.npz", "outputs.npz"))
        if isinstance(inputs, Path):
            given = inputs
        else:
            write_arrays(given, inputs)
        self._ask({"do": "predict", "inputs": str(given), "outputs": str(wanted), "batch_size": batch_size})
        return read_outputs(wanted)

    def turns(self, batch: Path, samples: int) -> tuple[Turn, ...]:
        """Time the model on the batch stored in a .npz file: its first call, and so many samples once it is warm. Of what a language
        model answers, the turn of prefill and that of decode; of anything else, that of the call."""
        return tuple(map(_as_turn, self._ask({"do": "turns", "inputs": str(batch), "samples": samples})["turns"]))

    def generate(self, prompts: Sequence[Sequence[int]], sampling: "Sampling") -> list["Generation"]:
        """The answers of a language model to prompts of tokens, as one batch where its engine can."""
        from slimline.generation import Generation

        request = {"do": "generate", "prompts": [list(map(int, prompt)) for prompt in prompts], "sampling": dataclasses.asdict(sampling)}
        answers = self._ask(request)["answers"]
        return [Generation(**{**answer, "tokens": tuple(answer["tokens"])}) for answer in answers]

    def peak_memory_bytes(self) -> int:
        """The most memory that the child held so far."""
        return int(self._ask({"do": "memory"})["bytes"])

    def _wait(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._answer("load")
        return self._state

    def _ask(self, request: Request) -> dict[str, Any]:
        self._wait()
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._crash(request["do"]) from None
        return self._answer(request["do"])

    def _answer(self, doing: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._pending:
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._process.kill()
                raise MachineError(f"{self._name}: no answer to {doing!r} within {self._timeout_s:g} s; its process was ended")
            if not (piece := os.read(self._process.stdout.fileno(), 1 << 16)):
                raise self._crash(doing)
            self._pending += piece
        line, self._pending = self._pending.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["kind"])(answer["error"])
        return answer

    def _crash(self, doing: str) -> MachineError:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return MachineError(f"{self._name}: its process {how} at {doing!r}; it said last: {lines[-1].strip() if lines else 'nothing'}")

    @property
    def _name(self) -> str:
        return self.location.name if isinstance(self.location, Path) else self.location


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


def _as_turn(told: Request) -> Turn:
    first, *taken = (Sample(one["cpu_ms"], tuple(one["wall_ms"])) for one in (told["first"], *told["samples"]))
    return Turn(first, tuple(taken), told["steady"], told["calls"])


def _environment(threads: int) -> dict[str, str]:
    """The child's environment: as many threads as said, waiting without spinning, and this very library."""
    library = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **dict.fromkeys(THREAD_SETTINGS, str(threads)), "OMP_WAIT_POLICY": "passive", "PYTHONPATH": paths}


def _own_stdout() -> int:
    """Keep the pipe to the parent for answers alone: whatever prints to stdout goes to stderr."""
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slimline.worker", description=__doc__)
    parser.add_argument("location")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workload", default=None)
    arguments = parser.parse_args()
    pipe = _own_stdout()

    def answer(message: Request) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    try:
        with through_their_code(arguments.workload or ""):
            serve(arguments.location, arguments.threads, arguments.workload, iter(sys.stdin.readline, ""), answer)
    except SlimlineError as error:
        answer({"error": str(error), "kind": type(error).__name__})
    os._exit(0)  # a runtime's tear-down takes up to a second, and some crash in it; nothing is left to save


if __name__ == "__main__":
    _main()
