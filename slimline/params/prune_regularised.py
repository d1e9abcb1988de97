"""Configs of the pruning methods that train with a penalty, until weights or channels are exactly zero."""

from typing import ClassVar, Literal

from pydantic import model_validator

from slimline.params.section import Amount, Count, EditParams, Positive, Training


class _RegularisedParams(EditParams):
    """What they share."""

    needs_labels: ClassVar[bool] = True

    penalty: Amount = 1.0
    """How strong the penalty is."""
    training: Training = Training(epochs=20, learning_rate=0.001, weight_decay=0.0)
    """The training with the penalty; all its epochs run, for each one makes the model smaller."""

    @model_validator(mode="after")
    def _every_epoch_runs(self) -> "_RegularisedParams":
        if self.training.patience is not None:
            raise ValueError("training.patience: all epochs of a penalty run; remove it, or give recover a patience")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.penalty == 0 or self.training.epochs == 0


class L1RegularisedParams(_RegularisedParams):
    """Train with an L1 penalty on the weights, so that those that the loss does not hold become exactly zero; shapes stay."""

    judgement: ClassVar[str] = "As magnitude, but training picks the weights; smaller only once packed sparse, never faster."

    method: Literal["l1_regularised"]
    penalty: Amount = 2.0
    """How far the whole training draws every weight to zero, in mean weights of the source, where the loss does not hold it."""

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return f"Trained with an L1 penalty of {self.penalty:g} on the weights of Linear and convolution layers."


class _SilencedParams(_RegularisedParams):
    """What the methods share that remove the channels which a penalty has silenced."""

    changes_shape: ClassVar[bool] = True

    round_to: Count = 8
    """What is left of a layer is rounded up to a multiple of this many channels; kernels like 8 and 16."""


class NetworkSlimmingParams(_SilencedParams):
    """Train with an L1 penalty on the scales of batch norms, and remove the channels whose scales are zero."""

    judgement: ClassVar[str] = "Smaller and faster where every layer has a batch norm; needs many steps, layers without one stay whole."

    method: Literal["network_slimming"]
    penalty: Amount = 8.0
    """How far the whole training draws a group's weakest channel to zero, in mean scales of the source; the strongest a 16th of it."""

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return f"Trained with an L1 penalty of {self.penalty:g} on the scales of batch norms; channels at zero removed."


class GroupLassoParams(_SilencedParams):
    """Train with a penalty on the norm of all that belongs to a channel, and remove the channels that are zero."""

    judgement: ClassVar[str] = (
        "Smaller and faster on every target, with widths that training chose; needs labels and a penalty to be tried."
    )

    method: Literal["group_lasso"]
    penalty: Amount = 5.0
    """How far the whole training draws a group's weakest channel to zero, in mean sizes of its channels; the strongest a 16th of it."""

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return f"Trained with a group lasso of {self.penalty:g} on coupled channels; channels at zero removed."


class HardConcreteParams(_SilencedParams):
    """Train a gate for each channel with a penalty on how many are open (L0), and remove the channels whose gates are shut."""

    judgement: ClassVar[str] = "Smaller and faster on every target, without shrinking what stays; needs labels and a penalty to be tried."

    method: Literal["hard_concrete"]
    penalty: Amount = 1.0
    """What is added to the loss when all gates are open; less in proportion to the weights behind open ones."""
    gate_learning_rate: Positive = 0.1
    """The highest learning rate of the gates, which have farther to go than weights."""

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return f"Trained with hard concrete gates on channels and an L0 penalty of {self.penalty:g}; channels with shut gates removed."
