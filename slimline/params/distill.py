"""Configs of the distillation methods."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from slimline.params.section import Number, Positive, Text, Training, VariantParams

DEEPEST = 8


def _no_json(value: object, depth: int) -> str:
    """What JSON has no form for; empty where it has one for all of it."""
    if depth == 0:
        return "too many levels"
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            return f"the key {odd[0]!r}, which is no text"
        value = list(value.values())
    if isinstance(value, list):
        return next(filter(None, (_no_json(part, depth - 1) for part in value)), "")
    is_plain = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    return "" if is_plain else f"{value!r}, {type(value).__name__}"


class StudentTraining(VariantParams, Training):
    """What a distilled student and its control share: the workload's student and the training budget."""

    needs_data: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    changes_shape: ClassVar[bool] = True
    may_follow: ClassVar[frozenset[str]] = frozenset({"teacher", "prune", "factorize", "distill"})

    student: dict[str, Any] = Field(default_factory=dict)
    """What the workload's build_student is given: numbers, texts, lists and mappings of them."""

    @field_validator("student")
    @classmethod
    def _stored_as_json(cls, student: dict[str, Any]) -> dict[str, Any]:
        """It stands in manifests, as JSON."""
        if breach := _no_json(student, DEEPEST):
            raise ValueError(f"holds {breach}; give numbers, texts, lists and mappings of them, {DEEPEST} deep at most")
        return student


class SoftTargetsParams(StudentTraining):
    """Train the student on the teacher's softened outputs."""

    judgement: ClassVar[str] = "The largest gains of all, if a small network can do the task; compare with its control."

    method: Literal["soft_targets"]
    temperature: Positive = 4.0
    """By how much both models' logits are divided before they are compared: the larger, the softer."""
    alpha: Annotated[float, Number, Field(ge=0, le=1)] = 0.1
    """The share of the loss that the labels have; the teacher has the rest."""


class ScratchParams(StudentTraining):
    """The control: the same student, trained on the labels alone."""

    judgement: ClassVar[str] = "A control, to see what the teacher's knowledge was worth."

    method: Literal["scratch"]
    control_of: Text
    """The distilled variant whose student and budget it has."""


DistillParams = Annotated[SoftTargetsParams | ScratchParams, Field(discriminator="method")]
