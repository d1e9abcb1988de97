"""Configs of the pruning methods."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.section import Count, Positive, Strength, Training, VariantParams


class MagnitudeParams(VariantParams):
    """Zero single weights by magnitude; shapes stay."""

    judgement: ClassVar[str] = "Smaller only once packed sparse or compressed; never faster on ONNX Runtime or OpenVINO."
    needs_data: ClassVar[bool] = True

    method: Literal["magnitude"]
    norm: Literal["l1", "l2", "random"] = "l1"
    """What makes a weight small; random is a control."""
    scope: Literal["global", "local"] = "global"
    """Whether the smallest of the whole model go, or the smallest of each layer."""
    fraction: Strength | None = None
    """The share of weights that become zero; or give threshold."""
    threshold: Positive | None = None
    """Weights whose magnitude (norm l2: its square) is below this become zero."""
    recover: Training = Training()
    """Training afterwards; zeros stay zero."""

    @model_validator(mode="after")
    def _one_amount(self) -> "MagnitudeParams":
        if (self.fraction is None) == (self.threshold is None):
            raise ValueError("give either fraction or threshold")
        if self.norm == "random" and self.threshold is not None:
            raise ValueError("norm random has no threshold: give fraction")
        return self


class ChannelsParams(VariantParams):
    """Remove whole channels and neurons, so that shapes shrink."""

    judgement: ClassVar[str] = "Smaller and faster on every target; needs recovery training above a ratio of about 0.25."
    needs_data: ClassVar[bool] = True
    changes_shape: ClassVar[bool] = True

    method: Literal["channels"]
    norm: Literal["l1", "l2", "random"] = "l2"
    """What makes a channel small; random is a control."""
    scope: Literal["global", "local"] = "local"
    """Whether the smallest channels of the whole model go, or the same share of each layer's."""
    ratio: Strength
    """The share of channels that go."""
    round_to: Count = 8
    """What is left of a layer is a multiple of this many channels; kernels like 8 and 16."""
    recover: Training = Training()
    """Training afterwards."""


PruneParams = Annotated[MagnitudeParams | ChannelsParams, Field(discriminator="method")]
