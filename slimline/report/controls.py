"""What the teacher's knowledge was worth: a distilled student against the same student trained on labels alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from slimline.params import Params, ScratchParams
from slimline.report.numbers import points
from slimline.verdict.difference import accuracy_drop

Predictions = Mapping[tuple[str, str], pd.DataFrame]
"""(variant, target) -> predictions.parquet of the evaluate stage"""


@dataclass(frozen=True)
class Control:
    """Accuracy of student and control on one target, and their paired difference (above 0: the teacher helped)."""

    student: str
    control: str
    target: str
    student_accuracy: float
    control_accuracy: float
    gain: float
    ci: tuple[float, float]
    p_value: float

    @property
    def finding(self) -> str:
        """The row in words."""
        if self.ci[0] > 0:
            return f"the teacher's knowledge was worth {points(self.gain)}"
        if self.ci[1] < 0:
            return f"the student without the teacher was better by {points(-self.gain, signed=False)}"
        return "no difference shown: the interval holds 0"


def controls(params: Params, predictions: Predictions) -> Iterator[Control]:
    """One row for every control and target on which both it and its student were evaluated."""
    for name, config in params.distill.items():
        if not isinstance(config, ScratchParams):
            continue
        for target in params.deploy.targets:
            student, control = predictions.get((config.control_of, target)), predictions.get((name, target))
            if student is not None and control is not None:
                yield _compared(config.control_of, name, target, (student, control), params.gate.confidence)


def _compared(student: str, control: str, target: str, tables: tuple[pd.DataFrame, pd.DataFrame], confidence: float) -> Control:
    ours, theirs = (table.set_index("index").sort_index() for table in tables)
    right, also = ours["variant"] == ours["label"], theirs["variant"] == theirs["label"]
    gain = accuracy_drop(int((right & ~also).sum()), int((also & ~right).sum()), len(ours), confidence)
    return Control(student, control, target, float(right.mean()), float(also.mean()), gain.value, gain.ci, gain.p_value)
