"""A workload as the line uses it: somebody's object behind the border, every value held to what the Protocol promises."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slimline.errors import WorkloadError
from slimline.objectives import Objective
from slimline.workloads import promises
from slimline.workloads.border import theirs

if TYPE_CHECKING:
    from torch import Generator, nn

    from slimline.data.batch import Batch, Tensors
    from slimline.data.columns import Rows
    from slimline.data.preprocessing import Preprocessing
    from slimline.data.samples import Samples
    from slimline.data.table import Source

NEEDED = ("build_teacher", "inputs", "splits")
OPTIONAL = ("augment", "build_student", "outputs", "show", "targets")
FIRST_CONTRACT = ("example_input", "feature_range", "labels", "loss", "metrics", "task")
"""What only a workload of the first contract has."""
CHANGED = (
    "is written for the first contract: in place of labels, task, loss and metrics give `objective`, for classes "
    "slimline.objectives.classification.classification(labels); drop example_input and feature_range; inputs(rows) gets columns by name "
    "in place of a table; docs/add-a-workload.md shows a whole one"
)
LABEL = "label"


class Guarded:
    """Implements slimline.workloads.Workload over `their` object; `given` is how params.yaml names it.

    `carried` are texts that go into every release, by file name: licence and card of the model that it began with.

    Every member raises WorkloadError: for whatever their code raises, and for a value that is not what the Protocol promises.
    """

    def __init__(self, given: str, their: Any, name: str, objective: Objective, members: frozenset[str]) -> None:
        self.given, self.their, self.name, self.objective, self.members = given, their, name, objective, members
        self._is_plain = True
        self.preprocessing = _ours(getattr(their, "preprocessing", None))
        self.carried: Mapping[str, str] = getattr(their, "carried", {})
        self.allows_missing, self.allows_equal = bool(getattr(their, "allows_missing", False)), bool(getattr(their, "allows_equal", False))

    def splits(self, options: Mapping[str, Any], seed: int) -> "Mapping[str, Source]":
        """Samples by split name; the stage `data` writes them and holds them against its expectations."""
        found: Mapping[str, Source] = self._call("splits", lambda: self.their.splits(options, seed))
        return found

    def build_teacher(self) -> "nn.Module":
        """The uncompressed architecture, untrained, called by name."""
        return self._called(self._held("build_teacher", self.their.build_teacher, promises.net_breach))

    def build_student(self, config: dict[str, Any]) -> "nn.Module":
        """A smaller architecture, untrained, called by name."""
        if "build_student" not in self.members:
            raise WorkloadError(f"workload {self.given!r} has no build_student(config), which a student is built by; add it")
        return self._called(self._held("build_student", lambda: self.their.build_student(config), promises.net_breach))

    def start_from_(self, net: "nn.Module") -> tuple[str, ...]:
        """Weights that the teacher's training begins with, loaded into the net; what was done, in sentences. Doors alone have some."""
        start_from_ = getattr(self.their, "start_from_", None)
        return () if start_from_ is None else tuple(start_from_(net))

    def inputs(self, rows: "Rows") -> "Batch":
        """The model's inputs for some rows, by name."""
        given = self._held("inputs", lambda: self.their.inputs(rows), lambda value: promises.inputs_breach(value, _count(rows)))
        return self._named(given)

    def targets(self, rows: "Rows") -> "Tensors":
        """What the model should give for some rows, [N, …]."""
        found: Tensors = self._held("targets", lambda: self._targets(rows), lambda value: promises.targets_breach(value, _count(rows)))
        return found

    def samples(self, rows: "Rows") -> "Samples":
        """Inputs and targets of some rows."""
        from slimline.data.samples import Samples

        return Samples(self.inputs(rows), self.targets(rows))

    def augment(self, batch: "Batch", generator: "Generator") -> "Batch":
        """Training inputs changed at random."""
        if "augment" not in self.members:
            return batch
        given = next(iter(batch.values())) if self._is_plain else batch
        made = self._held(
            "augment", lambda: self.their.augment(given, generator), lambda value: promises.augment_breach(self._named(value), batch)
        )
        return self._named(made)

    @property
    def augmentation(self) -> "Callable[[Batch, Generator], Batch] | None":
        """`augment`; None where training sees every sample as it is."""
        return self.augment if "augment" in self.members else None

    def show(self, row: Mapping[str, Any]) -> str:
        """One sample as a small piece of HTML."""
        from slimline.workloads.shown import shown

        show = self.their.show if "show" in self.members else shown
        picture: str = self._held("show", lambda: show(row), promises.picture_breach)
        return picture

    def _targets(self, rows: "Rows") -> "Tensors":
        import torch

        if "targets" in self.members:
            found: Tensors = self.their.targets(rows)
            return found
        if LABEL not in rows:
            raise KeyError(LABEL)
        return torch.as_tensor(rows[LABEL])

    def _named(self, value: Any) -> "Batch":
        """A plain tensor by the name of the one input."""
        self._is_plain = not isinstance(value, Mapping)
        found: Batch = {self.first_input: value} if self._is_plain else value
        return found

    @functools.cached_property
    def first_input(self) -> str:
        """What the one input is called: as the preprocessing calls it, else the first parameter of the teacher's `forward`."""
        if self.preprocessing is not None and len(names := self.preprocessing.inputs) == 1:
            return str(names[0])
        from slimline.data.calling import parameters_of

        return next(iter(parameters_of(self._held("build_teacher", self.their.build_teacher, promises.net_breach))), "input")

    def _called(self, net: "nn.Module") -> "nn.Module":
        from slimline.data.calling import called_by_name, only_tensor

        with theirs(self.given, "outputs()"):
            return called_by_name(net, self.first_input, self.their.outputs if "outputs" in self.members else only_tensor)

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
        WorkloadError: a member is missing, or is not what the Protocol promises (all of them are named); or it is of the first contract.
    """
    found: dict[str, Any] = {}
    for member in ("name", "objective", *NEEDED, *OPTIONAL, *FIRST_CONTRACT):
        with theirs(given, f"reading {member}"):
            found[member] = getattr(their, member, None)
    if found["objective"] is None and any(found[member] is not None for member in FIRST_CONTRACT):
        raise WorkloadError(f"params.yaml: workload: {given!r} {CHANGED}")
    if missing := [member for member in ("name", "objective", *NEEDED) if found[member] is None]:
        raise WorkloadError(
            f"params.yaml: workload: {given!r} lacks {', '.join(sorted(missing))}; docs/add-a-workload.md shows a whole one"
        )
    members = [member for member in (*NEEDED, *OPTIONAL) if found[member] is not None]
    breaches = {
        "name": promises.name_breach(found["name"]),
        "objective": promises.objective_breach(found["objective"]),
        **{member: "is no function" for member in members if not callable(found[member])},
    }
    if problems := [f"workload {given!r}: {member} {breach}" for member, breach in breaches.items() if breach]:
        raise WorkloadError("\n".join(problems))
    return Guarded(given, their, str(found["name"]), found["objective"], frozenset(members))


def _ours(preprocessing: object) -> "Preprocessing | None":
    """That of a door; what somebody's class calls so is their own affair."""
    from slimline.data.preprocessing import Preprocessing

    return preprocessing if isinstance(preprocessing, Preprocessing) else None


def _count(rows: "Rows") -> int:
    return len(next(iter(rows.values())))
