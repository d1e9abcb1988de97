"""The flow's end of the fork server: a `dvc repro` that is forked from it instead of started anew, so that a stage imports nothing twice.

While the server still imports, and where it has ended, `repro` gives None: the caller starts a process as ever.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from flows.forkserver import MOST_BYTES, READY

PRELOADED = (
    *("dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.open_repo", "dvc.repo.plots", "dvc.stage.cache", "dvc.data_cloud", "dvc.compare"),
    *("dvc.rwlock", "dvc.scm", "dvc.utils.strictyaml", "dvc_render.html", "fsspec.implementations.memory", "networkx", "ruamel.yaml"),
    *("numpy", "pandas", "pyarrow.parquet", "scipy.optimize", "scipy.stats", "sklearn.metrics", "pydantic", "jinja2", "torch"),
    *("torch._dynamo", "torch.export._trace", "torch.utils.flop_counter", "onnx", "onnxscript.optimizer"),
    *("onnxscript.function_libs.torch_lib.ops", "onnxruntime.quantization", "nncf", "openvino"),
)
"""What most stages import, of others' code alone; none of it starts a thread that minds being left behind."""
WORTH_IT = 8
"""For so many stages a server is started: by then it has saved more than its own imports cost."""
PROGRAM = Path(__file__).with_name("forkserver.py")


class Forked:
    """A child of the server, with what run_command needs of a subprocess.Popen."""

    def __init__(self, pid: int, stdout: BinaryIO, answers: socket.socket) -> None:
        self.pid, self.stdout, self._answers = pid, stdout, answers

    def wait(self) -> int:
        """Its exit code; that of a killed process where the server has ended before it."""
        with self._answers:
            return int(self._answers.recv(MOST_BYTES) or -signal.SIGKILL)


class ForkServer:
    """The server, from its start to `close`; several threads may ask."""

    def __init__(self, modules: Sequence[str] = PRELOADED) -> None:
        self._control, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._is_ready = False
        command = [sys.executable, "-P", str(PROGRAM), str(there.fileno()), *modules]
        with there:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[there.fileno()], start_new_session=True
            )

    def repro(self, arguments: Sequence[str], folder: Path) -> Forked | None:
        """`dvc ARGUMENTS` in a folder; None where the server is not there, or not yet."""
        request = {"folder": str(folder), "arguments": list(arguments), "environment": dict(os.environ)}
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read, write = os.pipe()
        stdout = os.fdopen(read, "rb")
        try:
            with there, self._lock:
                if self._ready():
                    socket.send_fds(self._control, [json.dumps(request).encode()], [write, there.fileno()])
        except OSError:
            self._is_ready = False
        finally:
            os.close(write)
        if pid := here.recv(MOST_BYTES):
            return Forked(int(pid), stdout, here)
        here.close()
        stdout.close()
        return None

    def _ready(self) -> bool:
        if not self._is_ready and select.select([self._control], [], [], 0)[0]:
            self._is_ready = self._control.recv(MOST_BYTES) == READY
        return self._is_ready

    def close(self) -> None:
        """The end of the server; its children are watched by whoever asked for them."""
        self._control.close()
        self._process.terminate()  # it may be importing still
        self._process.wait()


_servers: list[ForkServer] = []


@contextmanager
def fork_server(stages: int) -> Iterator[None]:
    """For the length of the block `forked` has a server, where so many stages are to be run that it is worth it."""
    if stages < WORTH_IT:
        yield
        return
    with closing(ForkServer()) as server:
        _servers.append(server)
        try:
            yield
        finally:
            _servers.remove(server)


def forked(arguments: Sequence[str], folder: Path) -> Forked | None:
    """`dvc ARGUMENTS` by the server; None where there is none that is ready."""
    return _servers[-1].repro(arguments, folder) if _servers else None
