"""What every distilled student has in its config: how it is built, its budget, its controls, and where samples are made up for it."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from slimline.params.section import Amount, Count, Number, Positive, Section, Share, Steps, Training, VariantParams

DEEPEST = 8
VARIANT = "variant"
"""The one key of `student` by which a variant of params.yaml is the student."""
TEACHING_PASSES = 3
"""What a pass forward and backward costs, in passes forward."""


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


class StudentShape(Section):
    """How much of its teacher a student has that is cut out of it."""

    width: Share = 1.0
    """The share of the channels and neurons of each layer."""
    depth: Share = 1.0
    """The share of the residual blocks, at even distances."""

    @model_validator(mode="after")
    def _smaller(self) -> "StudentShape":
        if self.width == self.depth == 1:
            raise ValueError("give a width or a depth below 1")
        return self


class StudentTraining(VariantParams, Training):
    """What a distilled student and its control share: the student and the training budget."""

    needs_data: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    changes_shape: ClassVar[bool] = True
    may_follow: ClassVar[frozenset[str]] = frozenset({"teacher", "prune", "factorize", "distill"})
    takes_no_variant: ClassVar[str] = ""
    """Why no variant can be the student; empty where one can."""

    student: dict[str, Any] = Field(default_factory=dict)
    """What the workload's build_student is given: numbers, texts, lists and mappings of them; or {width: 0.25, depth: 0.5}, shares of the
    source; or {variant: NAME}, the variant that is also the source, taught by the teacher."""
    source_layers: Count | tuple[Steps, ...] | None = None
    """In place of student: the source itself with so many of its layers, at even distances, or those of these numbers from 0."""

    @field_validator("student")
    @classmethod
    def _stored_as_json(cls, student: dict[str, Any]) -> dict[str, Any]:
        """It stands in manifests, as JSON."""
        if breach := _no_json(student, DEEPEST):
            raise ValueError(f"holds {breach}; give numbers, texts, lists and mappings of them, {DEEPEST} deep at most")
        return student

    @model_validator(mode="after")
    def _one_student(self) -> "StudentTraining":
        if self.source_layers is not None and self.student:
            raise ValueError("give either student or source_layers")
        if isinstance(self.source_layers, tuple) and sorted(set(self.source_layers)) != list(self.source_layers):
            raise ValueError("source_layers are numbers of layers, each once and in order")
        return self

    @property
    def student_variant(self) -> str | None:
        """The variant of params.yaml that is the student; None where it is another one."""
        name = self.student.get(VARIANT)
        return name if isinstance(name, str) and len(self.student) == 1 else None

    @property
    def shape(self) -> StudentShape | None:
        """Of a student that may be cut out of its source: where `student` holds shares by the names of `StudentShape` and nothing else."""
        is_one = bool(self.student) and self.student.keys() <= StudentShape.model_fields.keys()
        shares = [value for value in self.student.values() if isinstance(value, int | float) and not isinstance(value, bool)]
        if not is_one or len(shares) < len(self.student) or not all(0 < value <= 1 for value in shares) or min(shares) == 1:
            return None
        return StudentShape(**self.student)

    def taught_by(self, teacher: str) -> str:
        """The name of the variant that teaches: the source, or the `teacher` where the source is the student."""
        return teacher if self.student_variant else self.source

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """On how many samples the teacher runs in so many steps over so many samples; `anew` where something augments them.

        Once in each step, where a config does not say otherwise.
        """
        del anew
        return steps * min(self.batch_size, samples)

    def trained_samples(self, samples: int) -> int:
        """On how many samples the student is trained, where the training split has so many."""
        return samples

    def student_passes(self, samples: int, steps: int) -> int:
        """On how many samples nets of the student's size are trained."""
        return steps * min(self.batch_size, samples)

    def alone_steps(self, steps: int) -> int:
        """How many steps a student without a teacher takes to have as many as the taught one; `steps` are those of one training."""
        return steps


class ControlledTraining(StudentTraining):
    """A training whose worth is shown beside the same student's on labels alone."""

    controls: tuple[Literal["steps", "compute"], ...] = ("steps", "compute")
    """Also trained on labels alone, within the stage, and compared on validation: at equal steps, at equal compute; [] for neither."""
    label_shares: Annotated[tuple[Share, ...], Field(max_length=10)] = ()
    """Both are also trained on such shares of the training samples, to see where data are scarce enough; two trainings for each."""

    @model_validator(mode="after")
    def _each_once(self) -> "ControlledTraining":
        for name in ("controls", "label_shares"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} names one twice")
        return self


class Synthetic(Section):
    """Samples that are made up and answered by the teacher; beside the real ones, or in their place."""

    kind: Literal["mixup", "noise", "neighbours", "inverted"]
    """mixup: between two training samples; neighbours: between one and a near one; noise: one disturbed; inverted: from nothing, such that
    the teacher's batch norms see what they saw in its training."""
    samples: Count = 512
    """How many there are; the teacher answers each once."""
    weight: Amount = 1.0
    """How much they count beside the rest of the loss; every step sees as many of them as of real ones."""
    strength: Positive = 0.1
    """noise: standard deviations of each feature that it is moved by, and the share of categories that are another sample's."""
    near: Annotated[int, Number, Field(ge=1, le=1000)] = 5
    """neighbours: among so many of the nearest."""
    iterations: Annotated[int, Number, Field(ge=1, le=100_000)] = 200
    """inverted: steps of Adam on the samples."""
    smoothness: Amount = 0.001
    """inverted: how much differences between neighbouring pixels count."""
    alone: bool = False
    """Trained on these alone: no training sample and no label is seen (alpha: 0)."""

    def teacher_passes(self) -> int:
        """What making and answering them costs, in passes of the teacher."""
        made = self.iterations * TEACHING_PASSES if self.kind == "inverted" else 0
        return self.samples * (1 + made)


class GuidedTraining(ControlledTraining):
    """A training that has the teacher's answers for real samples in its loss."""

    temperature: Positive = 4.0
    """By how much both models' logits are divided before they are compared: the larger, the softer."""
    alpha: Annotated[float, Number, Field(ge=0, le=1)] = 0.1
    """The share of the loss that the labels have; the teacher has the rest."""
    top_k: Steps = 64
    """Of a language model's answers so many likeliest tokens at each place are kept, and all others as one; 0 keeps whole answers."""
    synthetic: Synthetic | None = None
    """Samples that are made up, beside the real ones or in their place."""

    @model_validator(mode="after")
    def _nothing_seen_alone(self) -> "GuidedTraining":
        if self.synthetic and self.synthetic.alone and self.alpha:
            raise ValueError("synthetic: alone: samples that are made up have no labels; give alpha: 0")
        return self

    def trained_samples(self, samples: int) -> int:
        """Those that are made up, where they are trained on alone."""
        return self.synthetic.samples if self.synthetic and self.synthetic.alone else samples

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """Once over the samples where they come around again, else once in each step; and what samples that are made up take."""
        made = self.synthetic.teacher_passes() if self.synthetic else 0
        if self.synthetic and self.synthetic.alone:
            return made
        return made + (samples if keeps_answers(self, samples) and not anew else steps * min(self.batch_size, samples))

    def student_passes(self, samples: int, steps: int) -> int:
        """Once in each step, and once more where samples that are made up come beside."""
        beside = self.synthetic is not None and not self.synthetic.alone
        return (2 if beside else 1) * super().student_passes(samples, steps)


def keeps_answers(config: Training, samples: int) -> bool:
    """Whether a training comes to each sample so often that the teacher's answers are worth keeping."""
    return config.steps is None or config.steps * min(config.batch_size, samples) >= samples
