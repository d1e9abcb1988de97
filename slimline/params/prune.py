"""Configs of the pruning methods."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.prune_lottery import LotteryTicketParams
from slimline.params.section import Count, EditParams, Positive, Strength


class MagnitudeParams(EditParams):
    """Zero single weights by magnitude; shapes stay."""

    judgement: ClassVar[str] = "Smaller only once packed sparse or compressed; never faster on ONNX Runtime or OpenVINO."

    method: Literal["magnitude"]
    criterion: Literal["l1", "l2", "random"] = "l1"
    """What makes a weight small; random is a control."""
    scope: Literal["global", "local"] = "global"
    """Whether the smallest of the whole model go, or the smallest of each layer."""
    fraction: Strength | None = None
    """The share of weights that become zero; or give threshold."""
    threshold: Positive | None = None
    """Weights whose magnitude (criterion l2: its square) is below this become zero."""

    @model_validator(mode="after")
    def _one_amount(self) -> "MagnitudeParams":
        if (self.fraction is None) == (self.threshold is None):
            raise ValueError("give either fraction or threshold")
        if self.criterion == "random" and self.threshold is not None:
            raise ValueError("criterion random has no threshold: give fraction")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        amount = f"below {self.threshold:g}" if self.fraction is None else f"the lowest {self.fraction:.0%}"
        return f"Weights zeroed by {self.criterion} magnitude, {amount} ({self.scope})."


class ChannelsParams(EditParams):
    """Remove whole channels and neurons, so that shapes shrink."""

    judgement: ClassVar[str] = "Smaller and faster on every target; needs recovery training above a ratio of about 0.25."
    changes_shape: ClassVar[bool] = True

    method: Literal["channels"]
    criterion: Literal["l1", "l2", "random"] = "l2"
    """What makes a channel small; random is a control."""
    scope: Literal["global", "local"] = "local"
    """Whether the smallest channels of the whole model go, or the same share of each layer's."""
    ratio: Strength
    """The share of channels that go."""
    round_to: Count = 8
    """What is left of a layer is a multiple of this many channels; kernels like 8 and 16."""

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.ratio == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        widths = f"widths in multiples of {self.round_to}"
        return f"Channels of least {self.criterion} importance removed at ratio {self.ratio:g} ({self.scope}), {widths}."


PruneParams = Annotated[MagnitudeParams | ChannelsParams | LotteryTicketParams, Field(discriminator="method")]
