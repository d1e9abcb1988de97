"""Configs of the low-rank methods."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.section import Count, EditParams, Fraction, Recovery


class SvdParams(EditParams):
    """Two thin layers for each Linear and 1x1 convolution that gets smaller by it."""

    judgement: ClassVar[str] = "For wide Linear layers; a convolutional net has little to gain from it."
    changes_shape: ClassVar[bool] = True

    method: Literal["svd"]
    rank: Count | None = None
    """The rank of every layer; or give energy, or parameter_ratio."""
    energy: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of each layer's squared singular values that is kept."""
    parameter_ratio: Fraction | None = None
    """The share of each layer's parameters that is left."""
    recover: Recovery = Recovery(epochs=0)
    """Training afterwards."""

    activation_aware: bool = True
    """Whether the error is measured in the layer's outputs on the calibration sample, or in its weight."""

    @model_validator(mode="after")
    def _one_amount(self) -> "SvdParams":
        if sum(value is not None for value in (self.rank, self.energy, self.parameter_ratio)) != 1:
            raise ValueError("give exactly one of rank, energy, parameter_ratio")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.energy == 1

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        if self.energy is not None:
            of = "output energy on the calibration sample" if self.activation_aware else "weight's energy"
            return f"Ranks that keep {self.energy:.1%} of each layer's {of}."
        return f"Rank {self.rank}." if self.rank is not None else f"Ranks that leave {self.parameter_ratio:.0%} of each layer's weights."


FactorizeParams = SvdParams
