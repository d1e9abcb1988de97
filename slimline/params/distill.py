"""Configs of the distillation methods."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from slimline.params.section import Amount, Count, Names, Number, Positive, Share, Steps, Strength, Text, Training, VariantParams

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

    def teacher_passes(self, samples: int, steps: int) -> int:
        """On how many samples the teacher runs in a training of so many steps over so many samples."""
        raise NotImplementedError


class GuidedTraining(StudentTraining):
    """A training that has the teacher's answers for real samples in its loss."""

    temperature: Positive = 4.0
    """By how much both models' logits are divided before they are compared: the larger, the softer."""
    alpha: Annotated[float, Number, Field(ge=0, le=1)] = 0.1
    """The share of the loss that the labels have; the teacher has the rest."""
    top_k: Steps = 64
    """Of a language model's answers so many likeliest tokens at each place are kept, and all others as one; 0 keeps whole answers."""

    def teacher_passes(self, samples: int, steps: int) -> int:
        """Once over the samples where they come around again, else once in each step."""
        return samples if keeps_answers(self, samples) else steps * min(self.batch_size, samples)


class SoftTargetsParams(GuidedTraining):
    """Train the student on the teacher's softened outputs."""

    judgement: ClassVar[str] = "The largest gains of all, if a small network can do the task; compare with its control."

    method: Literal["soft_targets"]


class HiddenStatesParams(GuidedTraining):
    """Train the student on the teacher's outputs and on what its layers give, by way of a learned projection."""

    judgement: ClassVar[str] = "More to learn from than the outputs alone, for a student built like its teacher; each step costs more."

    method: Literal["hidden_states"]
    hidden_weight: Amount = 1.0
    """How much the distance of hidden states counts beside the rest of the loss."""
    distance: Literal["mse", "cosine"] = "mse"
    """Between states: the mean square over that of the teacher's own, or 1 minus the cosine."""
    student_layers: Names = ()
    """Modules of the student whose outputs are compared; empty: all entries of its longest list of layers."""
    teacher_layers: Names = ()
    """As many modules of the teacher; empty: entries of its longest list of layers at even distances, the last one among them."""

    @model_validator(mode="after")
    def _pairs(self) -> "HiddenStatesParams":
        if len(self.student_layers) != len(self.teacher_layers):
            raise ValueError("name as many student_layers as teacher_layers, or none of either")
        return self

    def teacher_passes(self, samples: int, steps: int) -> int:
        """Once in each step: hidden states are not kept."""
        return steps * min(self.batch_size, samples)


class SequenceParams(StudentTraining):
    """Train a language model on texts that its teacher wrote."""

    judgement: ClassVar[str] = "Where real text is scarce: the teacher writes more of it; with plenty of real text that is the better one."

    method: Literal["sequence"]
    texts: Count = 256
    """How many windows the teacher writes."""
    prompt_tokens: Count = 16
    """With how many tokens of a training window each one begins; they are not asked for."""
    temperature: Positive = 1.0
    """Of the sampling: below 1 the likelier tokens are taken more often, and texts are more alike."""
    top_p: Share = 0.95
    """Tokens are drawn among the likeliest that hold so much of the probability."""
    real: Strength = 0.0
    """The share of the windows trained on that are real ones."""
    overlap_tokens: Count = 24
    """A text with so many tokens in a row that stand in test, behind its prompt or across its end, is thrown away."""

    def teacher_passes(self, samples: int, steps: int) -> int:
        """Once for each text: with keys and values kept, writing one runs each token once."""
        del samples, steps
        return self.texts


class ScratchParams(StudentTraining):
    """The control: the same student, trained on the labels alone."""

    judgement: ClassVar[str] = "A control, to see what the teacher's knowledge was worth."

    method: Literal["scratch"]
    control_of: Text
    """The distilled variant whose student and budget it has."""
    equal: Literal["steps", "compute"] = "steps"
    """As many steps as the student had, or as many more as the teacher's part in its training cost, in multiply-accumulates."""

    def teacher_passes(self, samples: int, steps: int) -> int:
        """Never."""
        del samples, steps
        return 0


def keeps_answers(config: Training, samples: int) -> bool:
    """Whether a training comes to each sample so often that the teacher's answers are worth keeping."""
    return config.steps is None or config.steps * min(config.batch_size, samples) >= samples


DistillParams = Annotated[SoftTargetsParams | HiddenStatesParams | SequenceParams | ScratchParams, Field(discriminator="method")]
