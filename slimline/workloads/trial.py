"""Every member of a workload called once on its own table, before an hour is spent on it: all that breaks its promise, at once."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from slimline.errors import InputError
from slimline.workloads import Workload, promises
from slimline.workloads.border import theirs

Made = TypeVar("Made")
ROWS = 8


def trial_problems(workload: Workload, table: pd.DataFrame) -> tuple[str, ...]:
    """One line for each promise that is broken on the rows of a split with labels; a member that fails is not asked for more."""
    return tuple(_Trial(workload, table).problems())


class _Trial:
    """The values that the members gave, as far as they gave any."""

    def __init__(self, workload: Workload, table: pd.DataFrame) -> None:
        self._workload, self._table = workload, table
        self._told: list[str] = []
        self._targets = torch.tensor(table["label"].to_numpy(dtype="int64"))

    def problems(self) -> Iterator[str]:
        """Call the members in an order in which each gets what the ones before it gave."""
        rows = self._table.head(ROWS)
        example, inputs = self._made(self._workload.example_input), self._made(lambda: self._workload.inputs(rows))
        teacher = self._made(self._workload.build_teacher)
        if example is not None and inputs is not None and example.shape[1:] != inputs.shape[1:]:
            self._told.append(
                f"{self._where}: inputs() makes samples of shape {list(inputs.shape[1:])} of {self._table.shape[1] - 1} feature columns; "
                f"example_input() has {list(example.shape[1:])}; a column may be missing or too many"
            )
        elif inputs is not None and teacher is not None:
            self._try_teacher(teacher, inputs)
        if inputs is not None:
            self._made(lambda: self._workload.augment(inputs.clone(), torch.Generator().manual_seed(0)))
        self._try_judgement()
        self._made(lambda: self._workload.show({str(name): value for name, value in self._table.iloc[0].to_dict().items()}))
        yield from dict.fromkeys(self._told)

    def _try_teacher(self, teacher: nn.Module, inputs: Tensor) -> None:
        again = self._made(self._workload.build_teacher)
        shared = {id(value) for value in teacher.parameters()} & {id(value) for value in again.parameters()} if again is not None else set()
        if shared:
            self._told.append(f"{self._where}: build_teacher() gave the same net twice; build a new one in each call")
        outputs = self._made(lambda: self._outputs(teacher, inputs))
        if outputs is not None and (breach := self._outputs_breach(outputs, len(inputs))):
            self._told.append(f"{self._where}: the net of build_teacher() {breach}")

    def _outputs(self, net: nn.Module, inputs: Tensor) -> object:
        with theirs(self._name, "the net of build_teacher()"), torch.no_grad():
            return net.eval()(inputs)

    def _outputs_breach(self, outputs: object, rows: int) -> str:
        wanted = f"[{rows}, {len(self._workload.labels)}]"
        if not isinstance(outputs, Tensor) or outputs.dtype != torch.float32 or list(outputs.shape) != [rows, len(self._workload.labels)]:
            return f"gave {promises.text(outputs)} for {rows} samples; its output is logits, float32 {wanted}"
        return ""

    def _try_judgement(self) -> None:
        """Loss and metrics of logits drawn at random, for all rows: every class is among them."""
        draw = torch.Generator().manual_seed(0)
        logits = torch.randn(len(self._targets), len(self._workload.labels), generator=draw).requires_grad_()
        with torch.enable_grad():
            self._made(lambda: self._workload.loss(logits, self._targets))
        figures = self._made(lambda: self._workload.metrics(np.asarray(logits.detach()), self._targets.numpy()))
        if figures is not None and "accuracy" not in figures:
            self._told.append(f"{self._where}: metrics() gave {', '.join(figures)}; `accuracy` must be among them")

    def _made(self, call: Callable[[], Made]) -> Made | None:
        try:
            return call()
        except InputError as error:
            self._told.extend(str(error).splitlines())
            return None

    @property
    def _name(self) -> str:
        return str(getattr(self._workload, "given", self._workload.name))

    @property
    def _where(self) -> str:
        return f"workload {self._name!r}"
