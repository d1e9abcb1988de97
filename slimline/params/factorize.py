"""Configs of the low-rank methods."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.section import Count, Fraction, Training, VariantParams


class SvdParams(VariantParams):
    """Two thin layers for each Linear and 1x1 convolution that gets smaller by it."""

    judgement: ClassVar[str] = "For wide Linear layers; a convolutional net has little to gain from it."
    needs_data: ClassVar[bool] = True
    changes_shape: ClassVar[bool] = True

    method: Literal["svd"]
    rank: Count | None = None
    """The rank of every layer; or give energy, or parameter_ratio."""
    energy: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of each layer's squared singular values that is kept."""
    parameter_ratio: Fraction | None = None
    """The share of each layer's parameters that is left."""
    recover: Training = Training(epochs=0)
    """Training afterwards."""

    @model_validator(mode="after")
    def _one_amount(self) -> "SvdParams":
        if sum(value is not None for value in (self.rank, self.energy, self.parameter_ratio)) != 1:
            raise ValueError("give exactly one of rank, energy, parameter_ratio")
        return self


FactorizeParams = SvdParams
