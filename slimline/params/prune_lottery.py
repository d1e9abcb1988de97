"""Config of the lottery ticket."""

from typing import ClassVar, Literal

from pydantic import model_validator

from slimline.params.section import Count, EditParams, Epochs, Recovery, Strength, Training


class LotteryTicketParams(EditParams):
    """Prune by magnitude a little at a time, and train what is left from its initial weights again after each time."""

    needs_labels: ClassVar[bool] = True
    judgement: ClassVar[str] = "Shows how few weights can learn the task, at the price of a training a round; never faster."
    may_follow: ClassVar[frozenset[str]] = frozenset({"teacher"})

    method: Literal["lottery_ticket"]
    rounds: Count = 30
    """How many times the smallest weights go and the rest is trained anew."""
    fraction: Strength = 0.1
    """The share of the weights still there that goes each round: 30 rounds of 0.1 leave 4.2 %."""
    floor: Strength = 0.0
    """The share of each layer's weights that stays whatever their size; one weight of a layer always does."""
    rewind_epoch: Epochs = 0
    """Go back to the weights after so many epochs of the dense training; 0: to the initial ones."""
    training: Training = Training(epochs=15)
    """Each round's training; round 0 trains the dense net with it."""
    control_rounds: tuple[Count, ...] | None = None
    """The rounds in which the two controls are trained too, a training each; unset: the last. [] trains none."""
    recover: Recovery = Recovery(epochs=0)
    """Training afterwards."""

    @model_validator(mode="after")
    def _rounds_fit(self) -> "LotteryTicketParams":
        if self.rewind_epoch >= self.training.epochs:
            raise ValueError(f"rewind_epoch {self.rewind_epoch} leaves nothing of the {self.training.epochs} epochs of training")
        late = [number for number in self.controlled if number > self.rounds]
        if late or len(set(self.controlled)) < len(self.controlled):
            raise ValueError(f"control_rounds: give each at most once, from 1 to {self.rounds}")
        return self

    @property
    def controlled(self) -> tuple[int, ...]:
        """The rounds in which controls are trained."""
        return (self.rounds,) if self.control_rounds is None else self.control_rounds

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        back = "the initial weights" if self.rewind_epoch == 0 else f"the weights after epoch {self.rewind_epoch} of the dense training"
        return (
            f"{self.rounds} rounds: the smallest {self.fraction:.0%} of the weights still there go (global), "
            f"and the rest is trained again from {back}."
        )
