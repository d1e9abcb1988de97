"""Keep OpenVINO from leaving a thread with a signal stack that is no longer there."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """Linux's stack_t, see sigaltstack(2)."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give the thread back the stack on which it handled signals before; hold this around whatever loads OpenVINO's CPU plugin.

    Each plugin sets a stack of its own, with room for the registers of AMX, and on its end puts back the one it had found
    (openvino#11894): that of another plugin, when several were loaded, and freed memory, when the first of them ended first. The next
    signal for which there is a handler (Ctrl-C, a child's end) then ends the process with SIGSEGV and no word. A kernel that needs the
    larger stack refuses the smaller one, and OpenVINO's stays.
    """
    if sys.platform != "linux":
        yield
        return
    sigaltstack, before = ctypes.CDLL(None).sigaltstack, _Stack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)
