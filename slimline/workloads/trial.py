"""Every member of a workload called once on its own samples, before an hour is spent on it: all that breaks its promise, at once."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from slimline.data.batch import Batch, Tensors, clone, count, flat, tensors
from slimline.data.calling import parameters_of
from slimline.data.table import Table
from slimline.errors import InputError, WorkloadError
from slimline.objectives import Objective
from slimline.workloads import promises
from slimline.workloads.border import theirs
from slimline.workloads.guarded import Guarded

Made = TypeVar("Made")
ROWS = 8


def trial_problems(workload: Guarded, table: Table) -> tuple[str, ...]:
    """One line for each promise that is broken on the rows of a split; a member that fails is not asked for more."""
    return tuple(_Trial(workload, table).problems())


class _Trial:
    """The values that the members gave, as far as they gave any."""

    def __init__(self, workload: Guarded, table: Table) -> None:
        self._workload, self._table = workload, table
        self._told: list[str] = []

    def problems(self) -> Iterator[str]:
        """Call the members in an order in which each gets what the ones before it gave."""
        rows = self._table.rows(slice(0, ROWS))
        inputs, targets = self._made(lambda: self._workload.inputs(rows)), self._made(lambda: self._workload.targets(rows))
        teacher = self._made(self._workload.build_teacher)
        if inputs is not None and teacher is not None:
            outputs = self._try_teacher(teacher, inputs)
            if targets is not None and (breach := self._workload.objective.targets_breach(targets)):
                self._tell(breach)
            elif outputs is not None and targets is not None:
                self._try_objective(self._workload.objective, outputs, targets)
            self._made(lambda: self._workload.augment(clone(inputs), torch.Generator().manual_seed(0)))
        self._made(lambda: self._workload.show(self._table.row(0)))
        yield from dict.fromkeys(self._told)

    def _try_teacher(self, teacher: nn.Module, inputs: Batch) -> Tensors | None:
        again = self._made(self._workload.build_teacher)
        shared = {id(value) for value in teacher.parameters()} & {id(value) for value in again.parameters()} if again is not None else set()
        if shared:
            self._tell("build_teacher() gave the same net twice; build a new one in each call")
        if breach := _names_breach(teacher, tuple(inputs)):
            self._tell(f"the net of build_teacher() {breach}")
            return None
        outputs = self._made(lambda: self._outputs(teacher, inputs))
        if outputs is None:
            return None
        if breach := _outputs_breach(outputs, count(inputs)):
            self._tell(f"the net of build_teacher() {breach}")
            return None
        if not bool(flat(outputs).isfinite().all()):
            self._tell("the untrained net of build_teacher() gives outputs that are no finite numbers; mend its weights or its forward")
            return None
        if breach := self._workload.objective.outputs_breach(outputs):
            self._tell(f"the net of build_teacher() {breach}")
            return None
        found: Tensors = outputs
        return found

    def _outputs(self, net: nn.Module, inputs: Batch) -> Any:
        with theirs(self._workload.given, "the net of build_teacher()"), torch.no_grad():
            return self._given(net.eval()(**inputs), "the net of build_teacher()")

    def _try_objective(self, objective: Objective, outputs: Tensors, targets: Tensors) -> None:
        """Everything that an objective is asked for later, on what the untrained net gives."""
        wanted = _with_gradient(outputs)
        with torch.enable_grad():
            tried = (("loss", partial(objective.loss, wanted, targets)), ("guidance", partial(objective.guidance, wanted, outputs, 1.0)))
            for member, call in tried:
                value = self._of_objective(member, call)
                if value is not None and (breach := promises.loss_breach(value, tensors(wanted))):
                    self._tell(f"objective.{member}() {breach}")
        scores = self._of_objective("scores", lambda: objective.scores(outputs, targets))
        if scores is not None and (breach := _scores_breach(scores, count(outputs))):
            self._tell(f"objective.scores() {breach}")
        elif scores is not None:
            for name, metric in objective.metrics.items():
                figure = self._of_objective(f"metrics[{name!r}]", partial(metric.figure, scores))
                if figure is not None and not promises.is_number(figure):
                    self._tell(f"objective.metrics[{name!r}] gave {promises.shown(figure)}; it must be a finite number")
        answers = self._of_objective("answers", lambda: objective.answers(outputs))
        if answers is not None:
            self._of_objective("shown", lambda: str(objective.shown(answers[0])))
        self._of_objective("distance", lambda: float(objective.distance(outputs, outputs)))

    def _of_objective(self, member: str, call: Callable[[], Made]) -> Made | None:
        def theirs_called() -> Made:
            with theirs(self._workload.given, f"objective.{member}"):
                return self._given(call(), f"objective.{member}()")

        return self._made(theirs_called)

    def _given(self, value: Made | None, who: str) -> Made:
        """What was given, which has to be something: None says here that what went wrong is told already."""
        if value is None:
            raise WorkloadError(f"workload {self._workload.given!r}: {who} gave None")
        return value

    def _made(self, call: Callable[[], Made]) -> Made | None:
        try:
            return call()
        except InputError as error:
            where = f"workload {self._workload.given!r}: "
            self._told.extend(f"{'' if line.startswith('workload ') else where}{line}" for line in str(error).splitlines())
            return None

    def _tell(self, problem: str) -> None:
        self._told.append(f"workload {self._workload.given!r}: {problem}")


def _with_gradient(outputs: Tensors) -> Tensors:
    def leaf(value: torch.Tensor) -> torch.Tensor:
        return value.detach().clone().requires_grad_(value.is_floating_point())

    return leaf(outputs) if isinstance(outputs, torch.Tensor) else {name: leaf(value) for name, value in outputs.items()}


def _names_breach(net: nn.Module, given: tuple[str, ...]) -> str:
    """A net is called by name: its parameters against the inputs that there are."""
    known = parameters_of(net)
    if any(one.kind is one.VAR_KEYWORD for one in known.values()) or not (missing := [name for name in given if name not in known]):
        return ""
    takes = f"takes {', '.join(known)}" if known else "takes nothing"
    return f"{takes}, and the data give {', '.join(given)}: name a parameter of forward {missing[0]}"


def _outputs_breach(outputs: object, rows: int) -> str:
    """A tensor [rows, …], or several by name."""
    if isinstance(outputs, Mapping) and not outputs:
        return "gave nothing"
    for name, value in outputs.items() if isinstance(outputs, Mapping) else [("", outputs)]:
        where = f" for {name!r}" if name else ""
        if not isinstance(value, torch.Tensor) or value.dim() < 1 or len(value) != rows:
            return f"gave {promises.text(value)}{where} for {rows} samples; each output is a tensor [{rows}, …]"
    return ""


def _scores_breach(scores: object, rows: int) -> str:
    if not isinstance(scores, Mapping):
        return f"gave {promises.kind(scores)}; it must give columns by name"
    if "error" not in scores:
        return f"gave {', '.join(map(str, scores))}; the column 'error' must be there"
    wrong = [name for name, values in scores.items() if len(getattr(values, "shape", ())) < 1 or len(values) != rows]
    return f"gave {promises.text(scores[wrong[0]])} for {wrong[0]!r}; every column is an array [{rows}, …]" if wrong else ""
