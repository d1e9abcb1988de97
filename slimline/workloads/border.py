"""The border to code that is not ours: whatever a workload or one of its nets raises is told as theirs, in one line.

It stands where control goes from us to them: around every member that is called (`theirs`, by guarded.py), and around a whole
process (`through_their_code`), for what their nets raise in `forward`, wherever that is called. Only an interrupt by the user and
our own errors pass as they are.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from slimline.errors import WorkloadError
from slimline.foreign import innermost, passes, their_call, told
from slimline.workloads.known import known_workloads


def theirs(name: str, doing: str) -> their_call:
    """Around a call of one of their functions: whatever it raises is a WorkloadError."""
    return their_call(WorkloadError, f"workload {name!r}: {doing}", lambda: _own_package(name))


@dataclass(frozen=True)
class through_their_code:  # noqa: N801 - read as words
    """Around a process: what their code raised, called from wherever (a net's `forward`), is told as theirs; all else goes on as it is.

    An error is theirs where of all frames that are theirs or ours the innermost one is theirs: a hook of ours may run inside their
    net, and its mistakes are ours.

    Raises:
        WorkloadError: on exit, in place of what their code raised.
    """

    name: str

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if error is None or passes(error) or (frame := innermost(error, _own_package(self.name))) is None:
            return False
        raise WorkloadError(
            f"workload {self.name!r}: {frame.f_code.co_qualname} raised {told(error, _own_package(self.name))}; mend it there"
        ) from error


def _own_package(name: str) -> str:
    """The package that an installed workload comes in; empty for a file's."""
    return "" if ".py:" in name else known_workloads().get(name, "").partition(":")[0].partition(".")[0]
