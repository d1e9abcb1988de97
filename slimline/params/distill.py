"""Configs of the distillation methods."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from slimline.params.section import Positive, Training, VariantParams


class StudentTraining(VariantParams, Training):
    """What a distilled student and its control share: the workload's student and the training budget."""

    needs_data: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    changes_shape: ClassVar[bool] = True
    may_follow: ClassVar[frozenset[str]] = frozenset({"teacher", "prune", "factorize", "distill"})

    student: dict[str, Any] = Field(default_factory=dict)
    """What the workload's build_student is given."""


class SoftTargetsParams(StudentTraining):
    """Train the student on the teacher's softened outputs."""

    judgement: ClassVar[str] = "The largest gains of all, if a small network can do the task; compare with its control."

    method: Literal["soft_targets"]
    temperature: Positive = 4.0
    """By how much both models' logits are divided before they are compared: the larger, the softer."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of the loss that the labels have; the teacher has the rest."""


class ScratchParams(StudentTraining):
    """The control: the same student, trained on the labels alone."""

    judgement: ClassVar[str] = "A control, to see what the teacher's knowledge was worth."

    method: Literal["scratch"]
    control_of: str
    """The distilled variant whose student and budget it has."""


DistillParams = Annotated[SoftTargetsParams | ScratchParams, Field(discriminator="method")]
