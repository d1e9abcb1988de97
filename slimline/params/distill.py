"""Configs of the distillation methods; those that compare layers and those of many nets have files of their own."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.distill_features import AttentionTransferParams, HiddenStatesParams, HintsParams, RelationalParams
from slimline.params.distill_peers import AssistantParams, MutualParams, SelfParams
from slimline.params.section import Amount, Count, Positive, Share, Strength, Text
from slimline.params.student import ControlledTraining, GuidedTraining, StudentTraining


class SoftTargetsParams(GuidedTraining):
    """Train the student on the teacher's softened outputs."""

    judgement: ClassVar[str] = "The largest gains of all, if a small network can do the task; compare with its control."

    method: Literal["soft_targets"]


class DkdParams(GuidedTraining):
    """Train the student on how sure the teacher is of the right class, and, counted apart, on how it ranks all others."""

    judgement: ClassVar[str] = "For many classes and a sure teacher, whose ranking of the wrong ones soft_targets hardly sees."

    method: Literal["dkd"]
    target_weight: Amount = 1.0
    """How much the divergence of right against wrong counts."""
    other_weight: Amount = 8.0
    """How much the divergence among the wrong classes counts."""

    @model_validator(mode="after")
    def _labels_are_there(self) -> "DkdParams":
        if self.synthetic and self.synthetic.alone:
            raise ValueError("synthetic: alone: dkd asks for the right class, which made-up samples have not; take soft_targets")
        return self


class SequenceParams(ControlledTraining):
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

    def trained_samples(self, samples: int) -> int:
        """The texts, and the real windows among them."""
        return self.texts + min(samples, self.real_windows(self.texts))

    def real_windows(self, texts: int) -> int:
        """How many real windows are to be among so many texts."""
        return round(texts * self.real / (1 - self.real))

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """Once for each text: with keys and values kept, writing one runs each token once."""
        del samples, steps, anew
        return self.texts


class ScratchParams(StudentTraining):
    """The control: the same student, trained on the labels alone."""

    judgement: ClassVar[str] = "A control, to see what the teacher's knowledge was worth."

    method: Literal["scratch"]
    control_of: Text
    """The distilled variant whose student and budget it has."""
    equal: Literal["steps", "compute"] = "steps"
    """As many steps as the student had, or as many more as the teacher's part in its training cost, in multiply-accumulates."""

    def teacher_passes(self, samples: int, steps: int, *, anew: bool = False) -> int:
        """Never."""
        del samples, steps, anew
        return 0


DistillParams = Annotated[
    SoftTargetsParams
    | DkdParams
    | HiddenStatesParams
    | HintsParams
    | AttentionTransferParams
    | RelationalParams
    | MutualParams
    | SelfParams
    | AssistantParams
    | SequenceParams
    | ScratchParams,
    Field(discriminator="method"),
]
