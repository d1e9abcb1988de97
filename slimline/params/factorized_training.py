"""Config of the method that factorizes before training."""

from typing import ClassVar, Literal

from pydantic import model_validator

from slimline.params.section import Amount, Count, EditParams, Epochs, Fraction, Names, Recovery, Training


class FactorizedTrainingParams(EditParams, Training):
    """Two thin layers for each large one before any training, then trained from scratch; a dense net of the same budget is its control."""

    needs_labels: ClassVar[bool] = True
    judgement: ClassVar[str] = "Cheaper training as well as a smaller net, where the shape is known beforehand; compare with its control."
    changes_shape: ClassVar[bool] = True
    may_follow: ClassVar[frozenset[str]] = frozenset({"teacher", "distill"})

    method: Literal["factorized_training"]
    rank: Count | None = None
    """The rank of every layer; or give parameter_ratio."""
    parameter_ratio: Fraction | None = None
    """The share of each layer's weights that is left at most."""
    round_to: Count = 16
    """Ranks by parameter_ratio are multiples of this from there on, since kernels gain nothing from odd ones."""
    min_channels: Count = 32
    """Layers with fewer inputs or outputs stay whole."""
    keep: Names = ()
    """Layers that stay whole; `*` stands for any part of a name."""
    frobenius_decay: Amount = 0.0
    """The decay of each pair's product (half its squared Frobenius norm is added to the loss so many times)."""
    epochs: Epochs = 30
    """The most epochs of the training, and of its control's; 0 leaves the source as it is."""
    recover: Recovery = Recovery(epochs=0)
    """More training afterwards, which the control does not get."""

    @model_validator(mode="after")
    def _one_amount(self) -> "FactorizedTrainingParams":
        if (self.rank is None) == (self.parameter_ratio is None):
            raise ValueError("give either rank or parameter_ratio")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.epochs == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        ranks = f"rank {self.rank}" if self.rank is not None else f"ranks that leave {self.parameter_ratio:.0%} of each layer's weights"
        return f"Factorized before training at {ranks}, then trained from the untrained source's weights for at most {self.epochs} epochs."
