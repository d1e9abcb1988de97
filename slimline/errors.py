"""Every error that Slimline raises on purpose, and the exit code it ends a command with.

SlimlineError                1  something went wrong; the message says what and what to do
├── InputError               2  the user's input is wrong
│   ├── ParamsError          2  params.yaml: all problems at once
│   ├── WorkloadError        2  a workload is unknown or breaks the Protocol
│   ├── MethodError          2  a method of one's own is unknown, does not import or raises
│   ├── DataError            2  a table fails its expectations
│   ├── ArtifactError        2  a model file is truncated, altered, unsafe or of the wrong shape
│   └── StorageRefused       2  the S3 store says no: wrong key, missing bucket
├── StageError               1  a method ran and did not do what it was asked
│   ├── Impossible           1  no net built like this one can be so changed or compiled, whatever its weights
│   └── NotMade              1  a variant is asked for that an earlier stage did not make
├── Diverged                 1  a training ran into NaN or infinity, or never got better than where it began
├── MachineError             1  this machine lacks what a stage needs, or a runtime's process died on it
├── DiskError                1  the disk is full, fails, or may not be written
├── StorageUnavailable       1  the S3 store does not answer
├── BusyError                1  another run holds this workspace
└── NothingPassed            3  the line ran and no variant passed the gate

A message is one line: what, which value, where it was set, what to do. A StageError of a stage that makes a variant is a result: the
variant is rejected with that reason, and the line goes on (`tasks/missed.py`).

The process of a stage ends with OF_MACHINE where not its work but the machine failed: a MachineError, a DiskError, or memory or disk that
were used up below any other. The run that it belongs to ends with 1.
"""

from collections.abc import Sequence

OF_MACHINE = 4
"""The exit code of a stage that this machine could not run: the same stage may do well where there is more room."""
MOST_TOLD = 50
"""Lines of mistakes that are shown at once."""


class SlimlineError(Exception):
    """Any failure that Slimline foresees."""

    exit_code = 1


class InputError(SlimlineError):
    """The user's input is wrong; nothing was written."""

    exit_code = 2


class ParamsError(InputError):
    """One or more mistakes in params.yaml, collected before any work starts."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = [f"and {len(problems) - MOST_TOLD} more"] if len(problems) > MOST_TOLD else []
        super().__init__("\n".join([*self.problems[:MOST_TOLD], *more]))


class WorkloadError(InputError):
    """A workload is unknown, cannot be imported or breaks the Protocol."""


class MethodError(InputError):
    """A method of one's own is unknown, cannot be imported, raises, or gives back what no method gives."""


class DataError(InputError):
    """A table fails an expectation; the message names it and the offending rows."""


class ArtifactError(InputError):
    """A model file is truncated, altered, unsafe to load or of the wrong shape."""


class StorageRefused(InputError):
    """The S3 store refuses: wrong key, missing bucket, no right to write."""


class StageError(SlimlineError):
    """A method ran and did not do what it was asked: nothing shrank, a budget is out of reach, a graph computes something else."""


class Impossible(StageError):
    """The method, or the target, can do nothing with a net that is built like this one, whatever its weights become.

    It is found on the untrained net, before the line starts (slimline/calibration/trials.py); all other `StageError`s are results.
    """


class NotMade(StageError):
    """A variant is asked for that an earlier stage did not make: `stage` is that one, `reason` what it said."""

    def __init__(self, variant: str, stage: str, reason: str) -> None:
        self.variant, self.stage, self.reason = variant, stage, reason
        super().__init__(f"{variant!r} was not made: {reason}")


class Diverged(SlimlineError):
    """A training ran into NaN or infinity, or never got better than where it began; the message has the epoch."""


class MachineError(SlimlineError):
    """This machine lacks what a stage needs (a package, a program, memory), or a runtime's process died on it."""


class DiskError(SlimlineError):
    """The disk is full, fails, or may not be written; nobody's input is wrong."""


class StorageUnavailable(SlimlineError):
    """The S3 store does not answer."""


class BusyError(SlimlineError):
    """Another run holds this workspace; the message names it."""


class NothingPassed(SlimlineError):
    """The line ran and no variant passed the gate."""

    exit_code = 3
