"""A workload as the line uses it: somebody's object behind the border, every value held to what the Protocol promises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slimline.errors import WorkloadError
from slimline.workloads import promises
from slimline.workloads.border import theirs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Generator, Tensor, nn

MEMBERS = ("augment", "build_student", "build_teacher", "example_input", "inputs", "loss", "metrics", "show", "splits")
ATTRIBUTES = ("feature_range", "labels", "name", "task")


@dataclass
class Guarded:
    """Implements slimline.workloads.Workload over `their` object; `given` is how params.yaml names it.

    Every member raises WorkloadError: for whatever their code raises, and for a value that is not what the Protocol promises.
    """

    given: str
    their: Any
    name: str
    labels: tuple[str, ...]
    feature_range: tuple[float, float]
    task: Literal["classification"] = "classification"

    def splits(self, sizes: Mapping[str, float], seed: int) -> "dict[str, pd.DataFrame]":
        """Tables by split name; the stage `data` holds them against its expectations."""
        tables: dict[str, pd.DataFrame] = self._call("splits", lambda: self.their.splits(sizes, seed))
        return tables

    def build_teacher(self) -> "nn.Module":
        """The uncompressed architecture, untrained."""
        net: nn.Module = self._held("build_teacher", self.their.build_teacher, promises.net_breach)
        return net

    def build_student(self, config: dict[str, Any]) -> "nn.Module":
        """A smaller architecture, untrained."""
        net: nn.Module = self._held("build_student", lambda: self.their.build_student(config), promises.net_breach)
        return net

    def inputs(self, table: "pd.DataFrame") -> "Tensor":
        """The model's input for the rows of a table: float32 [N, …]."""
        made: Tensor = self._held("inputs", lambda: self.their.inputs(table), lambda value: promises.inputs_breach(value, len(table)))
        return made

    def example_input(self) -> "Tensor":
        """A batch of two samples, float32 [2, …]."""
        made: Tensor = self._held("example_input", self.their.example_input, lambda value: promises.inputs_breach(value, 2))
        return made

    def augment(self, inputs: "Tensor", generator: "Generator") -> "Tensor":
        """Training inputs changed at random, [N, …]."""
        made: Tensor = self._held(
            "augment", lambda: self.their.augment(inputs, generator), lambda value: promises.augment_breach(value, inputs)
        )
        return made

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """The training loss, a scalar."""
        value: Tensor = self._held("loss", lambda: self.their.loss(outputs, targets), lambda value: promises.loss_breach(value, outputs))
        return value

    def metrics(self, outputs: "np.ndarray", targets: "np.ndarray") -> dict[str, float]:
        """Named quality figures, as Python's own numbers."""
        figures = self._held("metrics", lambda: self.their.metrics(outputs, targets), promises.metrics_breach)
        return {name: float(figure) for name, figure in figures.items()}

    def show(self, row: Mapping[str, float]) -> str:
        """One sample as a small piece of HTML."""
        picture: str = self._held("show", lambda: self.their.show(row), promises.picture_breach)
        return picture

    def _held(self, member: str, call: Callable[[], Any], breach: Callable[[Any], str]) -> Any:
        value = self._call(member, call)
        if broken := breach(value):
            raise WorkloadError(f"workload {self.given!r}: {member}() {broken}")
        return value

    def _call(self, member: str, call: Callable[[], Any]) -> Any:
        with theirs(self.given, f"{member}()"):
            return call()


def guarded(given: str, their: Any) -> Guarded:
    """Somebody's object as a workload.

    Raises:
        WorkloadError: a member is missing, or an attribute is not what the Protocol promises; all of them are named.
    """
    found: dict[str, Any] = {}
    for member in (*ATTRIBUTES, *MEMBERS):
        with theirs(given, f"reading {member}"):
            found[member] = getattr(their, member, None)
    if missing := [member for member, value in found.items() if value is None]:
        raise WorkloadError(
            f"params.yaml: workload: {given!r} lacks {', '.join(sorted(missing))}; docs/add-a-workload.md shows a whole one"
        )
    breaches = {
        "name": promises.name_breach(found["name"]),
        "task": promises.task_breach(found["task"]),
        "labels": promises.labels_breach(found["labels"]),
        "feature_range": promises.range_breach(found["feature_range"]),
        **{member: "is no function" for member in MEMBERS if not callable(found[member])},
    }
    if problems := [f"workload {given!r}: {member} {breach}" for member, breach in breaches.items() if breach]:
        raise WorkloadError("\n".join(problems))
    low, high = found["feature_range"]
    return Guarded(given, their, str(found["name"]), tuple(map(str, found["labels"])), (float(low), float(high)))
