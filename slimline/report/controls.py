"""What the teacher's knowledge was worth: a distilled student against the same student trained on labels alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from slimline.params import Params, ScratchParams
from slimline.report.numbers import gain, loss, quantity
from slimline.report.plain import span
from slimline.verdict.paired_errors import PairedErrors, clusters_of, paired_errors

Predictions = Mapping[tuple[str, str], pd.DataFrame]
"""(variant, target) -> predictions.parquet of the evaluate stage"""


@dataclass(frozen=True)
class Control:
    """Student and control on one target: the share of right answers or the mean error of each, and their paired difference.

    Above 0: the teacher helped. `equal` is what they have as much of: steps of training, or compute.
    """

    student: str
    control: str
    target: str
    student_value: float
    control_value: float
    gain: float
    ci: tuple[float, float]
    p_value: float
    unit: str
    equal: str = "steps"

    @property
    def student_figure(self) -> str:
        """The student's value as it is read."""
        return quantity(self.student_value, self.unit)

    @property
    def control_figure(self) -> str:
        """The control's value as it is read."""
        return quantity(self.control_value, self.unit)

    @property
    def difference(self) -> str:
        """What the teacher brought, with its sign."""
        return gain(self.gain, self.unit)

    @property
    def span(self) -> str:
        """The interval of the difference."""
        return span(self.ci, lambda end: gain(end, self.unit))

    @property
    def finding(self) -> str:
        """The row in words."""
        return self._found if self.equal == "steps" else f"at equal {self.equal}: {self._found}"

    @property
    def _found(self) -> str:
        if self.ci[0] > 0:
            return f"the teacher's knowledge was worth {gain(self.gain, self.unit)}"
        if self.ci[1] < 0:
            return f"the student without the teacher was better by {loss(-self.gain, self.unit)}"
        return "no difference shown: the interval holds 0"


def controls(params: Params, predictions: Predictions) -> Iterator[Control]:
    """One row for every control and target on which both it and its student were evaluated."""
    for name, config in params.distill.items():
        if not isinstance(config, ScratchParams):
            continue
        for target in params.deploy.targets:
            student, control = predictions.get((config.control_of, target)), predictions.get((name, target))
            if student is not None and control is not None:
                pair = _paired(student, control, params.gate.confidence)
                yield replace(compared(config.control_of, name, target, pair), equal=config.equal)


def _paired(student: pd.DataFrame, control: pd.DataFrame, confidence: float) -> PairedErrors:
    own, other = (table.set_index("index").sort_index() for table in (student, control))
    errors, others = (table["variant_error"].to_numpy(float) for table in (own, other))
    return paired_errors(errors, others, confidence, clusters_of(own))


def compared(student: str, control: str, target: str, found: PairedErrors) -> Control:
    """Student and control by what was found of the errors of both on the same samples; `target` says where they ran."""
    return Control(student, control, target, found.first, found.second, found.drop, found.ci, found.p_value, found.unit)
