"""How a run is stopped: Ctrl-C, `kill PID`, a closed terminal, or the end of the program that it was started by.

`slimline run` becomes the flow, so that its pid is the flow's own. The first signal raises Stopped, which ends the running stages in
order; one more ends them at once. What kill -9 leaves is ended by flows.guard.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WRAPPER = "SLIMLINE_WRAPPER"
"""The pid of the parent process without which the run is to end, such as `make`: a parent that is killed passes nothing on."""
POLL_SECONDS = 0.5


class Stopped(KeyboardInterrupt):
    """A signal ended the run; `exit_code` is what a shell makes of it, 130 for Ctrl-C and 143 for kill."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


def listen() -> None:
    """From here on the signals raise Stopped in the main thread, also in a job that a script started in the background.

    Those that came since `slimline.commands.run` held them back are heard now. Hang-ups stay ignored where they are (nohup).
    """
    for number in _heeded():
        signal.signal(number, _raise_stopped)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


@contextmanager
def ending(hurry: Callable[[], object]) -> Iterator[None]:
    """While the block ends what runs, another signal does not break it off but calls `hurry`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: hurry()) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_at_once() -> None:
    """Nothing is left to do but to close down: another signal ends the process, and the guard does the rest."""
    for number in _heeded():
        signal.signal(number, lambda stop, _: os._exit(128 + stop))


def end_with_wrapper(environment: MutableMapping[str, str]) -> None:
    """Stop this run when the parent process that the environment names is gone; the run's own children are not told of it."""
    wrapper = environment.pop(WRAPPER, "")
    if wrapper == str(os.getppid()):
        threading.Thread(target=_watch, args=(int(wrapper),), daemon=True).start()


def _watch(wrapper: int) -> None:
    while os.getppid() == wrapper:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _heeded() -> list[signal.Signals]:
    return [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)
