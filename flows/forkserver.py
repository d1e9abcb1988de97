"""A process that imports once what all stages import, and forks a `dvc repro` with its stage for each request.

`python -P forkserver.py CONTROL MODULE…` answers on the inherited socket CONTROL and ends with its other end. It is run as a file and knows
nothing of the project's own code, so that a stage always runs what DVC has hashed; it starts no thread.

A request is JSON {"folder", "arguments": of `dvc`, "environment"} with two descriptors: what the child writes to, and a socket on which its
pid and then its exit code are told. The child forks once more before it begins, since DVC starts threads, and a process with threads is not
to be forked: that second child becomes the stage where DVC would start `python -m MODULE`, and ends unused where DVC starts nothing.
"""

import gc
import importlib
import json
import os
import re
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from setproctitle import getproctitle, setproctitle

READY = b"ready"
MOST_BYTES = 1 << 17
"""Of a request: an environment and a command line."""
A_STAGE = re.compile(r"python -m [\w.]+(?: [\w@.,:/=+-]+)*")
"""A command that needs no shell."""
BARRED: tuple[str, ...] = ("openvino_telemetry",)
"""Never imported: OpenVINO and NNCF send to Google Analytics by it (slimline.methods.compile.telemetry bars it in every stage)."""
HEAD = "schema: '2.0'\nstages:\n"
"""How dvc.lock begins."""


def preload(modules: list[str]) -> None:
    """Import them; one that is not installed is left to the stage that asks for it."""
    sys.modules.update(dict.fromkeys(BARRED))  # None: its import fails
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pages that nobody writes to stay shared


def serve(control: socket.socket) -> Callable[[], None] | None:
    """Answer requests until there are no more; in a child this returns what the child is to do."""
    children: dict[int, socket.socket] = {}
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for source in (control.fileno(), ended):
        selector.register(source, selectors.EVENT_READ)
    control.send(READY)
    while True:
        for key, _ in selector.select():
            if key.fd == ended:
                os.read(ended, MOST_BYTES)
                tell_of_the_ended(children)
                continue
            message, descriptors = socket.recv_fds(control, MOST_BYTES, 2)[:2]
            if not message:
                return None
            answers = socket.socket(fileno=descriptors[1])
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for inherited in (control, answers, *children.values()):
                    inherited.close()
                for descriptor in (ended, end):
                    os.close(descriptor)
                selector.close()
                return lambda: repro(json.loads(message), descriptors[0])
            os.close(descriptors[0])
            children[pid] = answers
            answers.send(str(pid).encode())


def tell_of_the_ended(children: dict[int, socket.socket]) -> None:
    """Take note of every child that has ended, and pass on how."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as answers, suppress(BrokenPipeError):
            answers.send(str(os.waitstatus_to_exitcode(status)).encode())


def repro(request: dict[str, Any], output: int) -> None:
    """Be `dvc repro` in a session of its own, with a process at hand that becomes the stage."""
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    with Stage() as stage:
        if not stage.pid:
            stage.become()
        else:
            import dvc.dvcfile as files
            import dvc.stage.run as runs

            runs._run = stage.instead_of(runs._run)
            with_one_entry(files.Lockfile, request["arguments"][-1])
            be("dvc", request["arguments"], request["folder"], request["environment"])


class Stage:
    """A process forked beforehand: 0 is the `pid` in itself."""

    def __init__(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        self._socket, other = (here, there) if self.pid else (there, here)
        other.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def become(self) -> None:
        """Wait for what to do, if anything, and do it."""
        message = self._socket.recv(MOST_BYTES)
        self._socket.close()
        if message:
            be(**json.loads(message))

    def instead_of(self, run: Callable[..., None]) -> Callable[..., None]:
        """DVC's own function that runs a stage's command and waits for it, with this process for the first that is fit for it."""

        def run_here(executable: str, command: str, **settings: Any) -> None:
            if not self.pid or not is_python_of_ours(command, settings["env"]):
                run(executable, command, **settings)
                return
            pid, self.pid = self.pid, 0
            module, *arguments = shlex.split(command)[2:]
            told = {"module": module, "arguments": arguments, "folder": settings["cwd"], "environment": settings["env"]}
            with suppress(BrokenPipeError):  # it was told to end before it began, and has a code for it
                self._socket.send(json.dumps(told).encode())
            if code := waited_for(pid):
                from dvc.stage.exceptions import StageCmdFailedError

                raise StageCmdFailedError(command, code)

        return run_here


def is_python_of_ours(command: str, environment: dict[str, str]) -> bool:
    """Whether a command is a module for this very Python, and needs no shell."""
    if not A_STAGE.fullmatch(command):
        return False
    python = shutil.which("python", path=environment.get("PATH"))
    return python is not None and Path(python).parent == Path(sys.executable).parent


def waited_for(pid: int) -> int:
    """The exit code of a child; an interrupt is the child's, as DVC has it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        signal.signal(signal.SIGINT, before)


def with_one_entry(lockfile: type[Any], name: str) -> None:
    """Let DVC's class read and write the entry of this one stage alone: all of dvc.lock takes it 3 s at 60 stages, in Python.

    Where the file is not as DVC writes it, it still does so.
    """
    load, dump = lockfile._load, lockfile.dump_stages

    def load_entry(self: Any, **settings: Any) -> Any:
        from dvc.utils.serialize import parse_yaml

        text = text_of(self)
        if (found := bounds(text, name)) is None:
            return load(self, **settings)
        entry = text[slice(*found)]
        return (parse_yaml(HEAD + entry, self.path) if entry else {"schema": "2.0", "stages": {}}), text

    def dump_entry(self: Any, stages: list[Any], **settings: Any) -> None:
        from dvc.stage.serialize import to_lockfile
        from dvc.utils.serialize import dumps_yaml

        text = text_of(self)
        entry = dumps_yaml({"stages": to_lockfile(stages[0], **settings)}) if [stage.name for stage in stages] == [name] else ""
        changed = spliced(text, name, entry)
        if changed is None:
            dump(self, stages, **settings)
        elif changed != text:
            draft = Path(f"{self.path}.{os.getpid()}")
            draft.write_text(changed, encoding="utf-8")
            draft.replace(self.path)
            self.repo.scm_context.track_file(self.relpath)

    lockfile._load, lockfile.dump_stages = load_entry, dump_entry


def text_of(lockfile: Any) -> str:
    """What dvc.lock holds; empty where there is none."""
    path = Path(lockfile.path)
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def bounds(text: str, name: str) -> tuple[int, int] | None:
    """Where the entry of a stage stands in dvc.lock, or would; None where the file is not as DVC writes it."""
    if not text.startswith(HEAD) or not text.endswith("\n") or re.search(r"^\S", text[len(HEAD) :], re.MULTILINE):
        return None
    if (begin := text.find(f"\n  {name}:\n") + 1) == 0:
        return len(text), len(text)
    following = re.compile(r"^  \S", re.MULTILINE).search(text, begin + 3)
    return begin, following.start() if following else len(text)


def spliced(text: str, name: str, entry: str) -> str | None:
    """dvc.lock with the entry of a stage ("stages:" and what is below it) in it; None where either is not as DVC writes it."""
    found, body = bounds(text, name), entry.removeprefix("stages:\n")
    if found is None or not body.startswith(f"  {name}:\n") or re.search(r" [&*]id\d", body):
        return None
    return text[: found[0]] + body + text[found[1] :]


def be(module: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Go on as `python -m MODULE ARGUMENTS…` would in this folder and environment, also by name."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-m", module, *arguments]
    setproctitle(" ".join(sys.orig_argv))
    sys.audit("flows.forkserver.began")
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the guard's, where the flow is gone and this still imports
    os.environ["SPT_NOENV"] = "1"  # the environment by which the guard knows a process stays readable
    setproctitle(getproctitle())  # finds its place, which later environments would hide
    preload(sys.argv[2:])
    if (begun := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        begun()
