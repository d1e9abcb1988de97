"""Config of pruning whole channels."""

from typing import ClassVar, Literal

from pydantic import model_validator

from slimline.params.schedule import ScheduledParams
from slimline.params.section import Count, Fraction, Names, Positive, Strength

AMOUNTS = ("ratio", "threshold", "parameters", "macs", "latency")


class ChannelsParams(ScheduledParams):
    """Remove whole channels and neurons, so that shapes shrink."""

    judgement: ClassVar[str] = "Smaller and faster on every target; needs recovery training above a ratio of about 0.25."
    changes_shape: ClassVar[bool] = True

    method: Literal["channels"]
    criterion: Literal["l1", "l2", "random", "batchnorm_scale", "taylor", "lamp"] = "l2"
    """What makes a channel small: its weights, its batch norm's scale, the loss without it (taylor), or chance, which is a control."""
    scope: Literal["local", "global", "sensitivity"] = "local"
    """The same share of each layer's channels, the least of the whole model, or more from the layers that calibrate found to mind least."""
    ratio: Strength | None = None
    """The share of channels that go; or give one of threshold, parameters, macs, latency."""
    threshold: Positive | None = None
    """Channels that score below this go, each layer's mean score being 1."""
    parameters: Fraction | None = None
    """The share of the parameters that is to be left; the ratio is searched."""
    macs: Fraction | None = None
    """The share of the multiply-accumulates that is to be left; the ratio is searched."""
    latency: Fraction | None = None
    """The share of the time that is to be left, measured on ONNX Runtime; the result depends on a clock."""
    floor: Strength = 0.0
    """The least share of a layer's channels that stays."""
    round_to: Count = 8
    """What is left of a layer is a multiple of this many channels; kernels like 8 and 16."""
    only: Names = ()
    """Names of the layers that may lose channels, * for any part of a name; empty: all. Coupled layers go along."""
    keep: Names = ()
    """Names of layers that keep their channels, and with them all that are coupled to them."""
    samples: Count = 256
    """Training samples that criterion taylor takes gradients of."""

    @model_validator(mode="after")
    def _one_amount(self) -> "ChannelsParams":
        given = [name for name in AMOUNTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(AMOUNTS)}{f', not {len(given)}' if given else ''}")
        return self

    @model_validator(mode="after")
    def _options_go_together(self) -> "ChannelsParams":
        if self.criterion == "lamp" and self.scope != "global":
            raise ValueError("criterion lamp compares channels of different layers; set scope: global")
        if self.threshold is not None and (self.criterion in ("random", "lamp") or self.scope == "sensitivity"):
            raise ValueError("a threshold goes with criterion l1, l2, batchnorm_scale or taylor, and scope local or global")
        if self.schedule.kind != "one_shot" and (self.threshold is not None or self.latency is not None):
            raise ValueError(f"schedule {self.schedule.kind} goes with ratio, parameters or macs")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.ratio == 0

    @property
    def amount(self) -> str:
        """Which of ratio, threshold, parameters, macs and latency is given."""
        return next(name for name in AMOUNTS if getattr(self, name) is not None)

    @property
    def strength(self) -> float:
        """How much goes: the ratio, the threshold, or the share that is not to be left."""
        value: float = getattr(self, self.amount)
        return value if self.amount in ("ratio", "threshold") else 1 - value

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        value = getattr(self, self.amount)
        amounts = {"ratio": f"at ratio {value:g}", "threshold": f"below {value:g} times their layer's mean"}
        amount = amounts.get(self.amount, f"until {value:.0%} of the {'MACs' if self.amount == 'macs' else self.amount} are left")
        widths = f"widths in multiples of {self.round_to}{f', at least {self.floor:.0%} of each' if self.floor else ''}"
        return f"Channels of least {self.criterion} importance removed {amount} ({self.scope}), {widths}{self.schedule.asked}."
