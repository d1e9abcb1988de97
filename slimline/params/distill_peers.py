"""Configs of the distillation methods in which more nets than two take part."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.section import Amount, Number, Positive
from slimline.params.student import ControlledTraining, GuidedTraining, StudentShape, keeps_answers


class MutualParams(ControlledTraining):
    """Train several students together, each on the labels and on what the others answer; the best by validation is kept."""

    judgement: ClassVar[str] = "Without any teacher; costs as many trainings as there are peers, which at equal compute is seldom worth it."
    takes_no_variant: ClassVar[str] = "mutual starts its peers from other random weights, and a variant has its own"

    method: Literal["mutual"]
    peers: Annotated[int, Number, Field(ge=2, le=16)] = 2
    """How many students learn together; all but the first start from other random weights."""
    temperature: Positive = 1.0
    """By how much logits are divided before they are compared."""
    peer_weight: Amount = 1.0
    """How much the mean distance to the other peers counts beside the labels."""

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """Never: peers teach each other."""
        del samples, steps, anew
        return 0

    def student_passes(self, samples: int, steps: int) -> int:
        """Every peer in each step."""
        return self.peers * super().student_passes(samples, steps)


class SelfParams(GuidedTraining):
    """Train the student again and again, each time on what it answered before: born again. At alpha 0 labels are replaced: refined."""

    judgement: ClassVar[str] = "Without any teacher; a little for noisy labels and small data, at several times the training."

    method: Literal["self"]
    generations: Annotated[int, Number, Field(ge=2, le=20)] = 2
    """How often it is trained; the first time on the labels alone."""

    @model_validator(mode="after")
    def _labels_are_there(self) -> "SelfParams":
        if self.synthetic and self.synthetic.alone:
            raise ValueError("synthetic: alone: the first generation has the labels, which made-up samples have not; take soft_targets")
        return self

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """Never: the student itself is asked."""
        del samples, steps, anew
        return 0

    def student_passes(self, samples: int, steps: int) -> int:
        """Every generation; the answers of the one before cost a third of a training's pass."""
        answered = samples if keeps_answers(self, samples) else steps * min(self.batch_size, samples)
        return self.generations * super().student_passes(samples, steps) + (self.generations - 1) * -(-answered // 3)

    def alone_steps(self, steps: int) -> int:
        """Those of all generations."""
        return self.generations * steps


class AssistantParams(GuidedTraining):
    """Train assistants of falling size, each taught by the one before, the first by the teacher; the last one teaches the student."""

    judgement: ClassVar[str] = "Where a student is so much smaller than its teacher that it cannot follow; one more training each."

    method: Literal["assistant"]
    assistants: Annotated[tuple[StudentShape, ...], Field(min_length=1, max_length=10)] = (StudentShape(width=0.5),)
    """What is cut out of the teacher, the largest first: [{width: 0.7}, {width: 0.5, depth: 0.5}]."""
