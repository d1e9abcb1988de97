"""Configs of the distillation methods that compare what layers give, not outputs alone."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.section import Amount, Epochs, Names, Number
from slimline.params.student import GuidedTraining


class FeatureTraining(GuidedTraining):
    """A training that also compares layers of student and teacher, which runs in every step: what layers give is too large to keep."""

    student_layers: Names = ()
    """Modules of the student whose outputs are compared; empty: by the models themselves."""
    teacher_layers: Names = ()
    """As many modules of the teacher; empty: those that lie as deep."""

    @model_validator(mode="after")
    def _pairs(self) -> "FeatureTraining":
        if len(self.student_layers) != len(self.teacher_layers):
            raise ValueError("name as many student_layers as teacher_layers, or none of either")
        return self

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """For its layers once in each step, beside what its answers take."""
        return super().teacher_passes(samples, steps, anew=anew) + steps * min(self.batch_size, samples)


class DeepTraining(FeatureTraining):
    """Of any two nets: unnamed layers are paired by how deep they lie."""

    pairs: Annotated[int, Number, Field(ge=1, le=100)] = 3
    """How many layers are paired where none are named, at even depths."""


class HiddenStatesParams(FeatureTraining):
    """Train the student on the teacher's outputs and on what its layers give, by way of a learned projection."""

    judgement: ClassVar[str] = "More to learn from than the outputs alone, for a student built like its teacher; each step costs more."

    method: Literal["hidden_states"]
    hidden_weight: Amount = 1.0
    """How much the distance of hidden states counts beside the rest of the loss."""
    distance: Literal["mse", "cosine"] = "mse"
    """Between states: the mean square over that of the teacher's own, or 1 minus the cosine."""


class HintsParams(DeepTraining):
    """Train the student on what the teacher's middle layers give, by way of a learned projection; of any two nets."""

    judgement: ClassVar[str] = "As hidden_states, for nets that are not built alike, convolutions too; a thin net gains most."

    method: Literal["hints"]
    hint_weight: Amount = 1.0
    """How much the mean square of the difference, over that of the teacher's own features, counts beside the rest of the loss."""
    hint_epochs: Epochs = 0
    """So many epochs before, on the features alone, as the paper has it; 0 trains on all at once."""

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """In the epochs before too."""
        return super().teacher_passes(samples, self.alone_steps(steps), anew=anew)

    def student_passes(self, samples: int, steps: int) -> int:
        """In the epochs before too, without what is made up."""
        return super().student_passes(samples, steps) + (self.alone_steps(steps) - steps) * min(self.batch_size, samples)

    def alone_steps(self, steps: int) -> int:
        """With those of the epochs before, which are as long."""
        return steps + self.hint_epochs * steps // max(1, self.epochs)


class AttentionTransferParams(DeepTraining):
    """Train the student to look where its teacher looks: on maps of how strong each place of a layer is."""

    judgement: ClassVar[str] = "For convolutions and sequences: no projection is learned, and widths may differ; nothing for tables."

    method: Literal["attention_transfer"]
    attention_weight: Amount = 1000.0
    """How much the mean square of the difference of two maps, each of length 1, counts beside the rest of the loss."""


class RelationalParams(FeatureTraining):
    """Train the student to hold the samples of a batch apart as its teacher does: by their distances and angles."""

    judgement: ClassVar[str] = "For embeddings and search, where it counts which samples are near each other; wants batches of 16 or more."

    method: Literal["relational"]
    distance_weight: Amount = 25.0
    """How much distances between the samples of a batch, over their mean, count beside the rest of the loss."""
    angle_weight: Amount = 50.0
    """How much the angles count that every three samples of a batch make."""
