"""One model in a process of its own: its runtime's threads are fixed, its memory is its own, and its crash harms nobody.

`Worker` is the user's end of the pipes, slimline.worker_process the other.
"""

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from slimline import errors
from slimline.artifact.arrays import read_outputs, write_arrays
from slimline.artifact.signature import Arrays
from slimline.errors import MachineError
from slimline.measure.timing import Sample, Turn
from slimline.worker_process import Request

if TYPE_CHECKING:
    from slimline.generation import Generation, Sampling

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TIMEOUT_S = 300.0
GRACE_S = 5.0

Array = NDArray[Any]
Outputs = Array | dict[str, Array]
"""One array [N, …], or several by name."""


class Worker:
    """A model loaded in a child process; use it as a context manager.

    `location` is anything that slimline.runtime.load takes; a plain variant folder runs in eager PyTorch. The child is
    started on entry and waited for at the first request, so that several load side by side. With `relaunches` it can be had afresh:
    it is forked from a process that has imported the runtime and nothing else.
    """

    def __init__(
        self, location: Path | str, *, threads: int = 1, workload: str | None = None, timeout_s: float = TIMEOUT_S, relaunches: bool = False
    ) -> None:
        self.location = Path(location) if "://" not in str(location) else location
        self.threads = threads
        self._workload, self._relaunches = workload, relaunches
        self._timeout_s = timeout_s
        self._pending = b""
        self._state: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "slimline.worker_process", str(self.location), "--threads", str(self.threads)]
        command += ["--workload", self._workload] if self._workload else []
        command += ["--relaunches"] if self._relaunches else []
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

    def relaunch(self) -> None:
        """A fresh process with the model loaded anew; like on entry, it is waited for at the next request. Of Workers with `relaunches`."""
        self._wait()
        self._send({"do": "relaunch"})
        self._state = None

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
        self._send(request)
        return self._answer(request["do"])

    def _send(self, request: Request) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._crash(request["do"]) from None

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


def _as_turn(told: Request) -> Turn:
    first, *taken = (Sample(one["cpu_ms"], tuple(one["wall_ms"])) for one in (told["first"], *told["samples"]))
    return Turn(first, tuple(taken), told["steady"], told["calls"])


def _environment(threads: int) -> dict[str, str]:
    """The child's environment: as many threads as said, waiting without spinning, and this very library."""
    library = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **dict.fromkeys(THREAD_SETTINGS, str(threads)), "OMP_WAIT_POLICY": "passive", "PYTHONPATH": paths}
