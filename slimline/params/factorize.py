"""Configs of the low-rank methods."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.factorized_training import FactorizedTrainingParams
from slimline.params.section import Count, EditParams, Fraction, Names, Number, Recovery, Section

Energy = Annotated[float, Number, Field(gt=0, le=1)]


class RankBudget(Section):
    """What is to be left of the whole model; give exactly one."""

    parameters: Fraction | None = None
    """The share of the model's parameters that is to be left."""
    macs: Fraction | None = None
    """The share of the model's multiply-accumulates that is to be left."""
    latency: Fraction | None = None
    """The share of the model's measured latency that is to be left; such a variant reads a clock, and is not equal byte for byte."""

    @model_validator(mode="after")
    def _one_kind(self) -> "RankBudget":
        if sum(value is not None for value in (self.parameters, self.macs, self.latency)) != 1:
            raise ValueError("give exactly one of parameters, macs, latency")
        return self

    @property
    def kind(self) -> Literal["parameters", "macs", "latency"]:
        """Which one is given."""
        return "parameters" if self.parameters is not None else "macs" if self.macs is not None else "latency"

    @property
    def share(self) -> float:
        """The share that is to be left."""
        return self.parameters or self.macs or self.latency or 1.0


class LowRankParams(EditParams):
    """What all low-rank methods have: how the ranks are chosen, and which layers are left alone."""

    changes_shape: ClassVar[bool] = True

    rank: Count | None = None
    """The rank of every layer (of both sides, where there are two); or give one of the four below."""
    energy: Energy | None = None
    """The share of each layer's squared singular values that is kept."""
    parameter_ratio: Fraction | None = None
    """The share of each layer's weights that is left at most."""
    budget: RankBudget | None = None
    """The share of the whole model that is left; a search gives the ranks to the layers whose loss moves the outputs most."""
    vbmf: bool = False
    """Whether the ranks are those that stand out of noise by variational Bayesian matrix factorization (Nakajima et al. 2013)."""
    round_to: Count = 16
    """Ranks are multiples of this where such ones save anything: kernels gain nothing from odd ones. A given rank is taken as it is."""
    min_channels: Count = 32
    """Layers with fewer inputs or outputs stay: they get smaller by it and rarely faster."""
    keep: Names = ()
    """Names of layers that stay as they are, * for any part of a name."""
    activation_aware: bool = True
    """Whether the error is measured in the layer's outputs on the calibration sample, or in its weight."""
    damping: Fraction = 0.1
    """What is added to the diagonal of the inputs' second moment, as a share of its mean; with many more samples than inputs take 0.01."""

    @model_validator(mode="after")
    def _one_amount(self) -> "LowRankParams":
        if len(self.amounts) != 1:
            raise ValueError("give exactly one of rank, energy, parameter_ratio, budget, vbmf")
        return self

    @property
    def amounts(self) -> dict[str, float | bool]:
        """What was given of the ways to choose ranks: name -> value (a budget's as budget.KIND)."""
        named = {"rank": self.rank, "energy": self.energy, "parameter_ratio": self.parameter_ratio, "vbmf": self.vbmf or None}
        budget = {f"budget.{self.budget.kind}": self.budget.share} if self.budget else {}
        return {name: value for name, value in named.items() if value is not None} | budget

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
        if self.budget is not None:
            return f"Ranks that leave {self.budget.share:.0%} of the model's {_KINDS[self.budget.kind]}, less where it hurts least."
        if self.vbmf:
            return "Ranks by variational Bayesian matrix factorization."
        return f"Rank {self.rank}." if self.rank is not None else f"Ranks that leave {self.parameter_ratio:.0%} of each layer's weights."


_KINDS = {"parameters": "parameters", "macs": "multiply-accumulates", "latency": "measured latency"}


class SvdParams(LowRankParams):
    """Two thin layers for each Linear layer and 1x1 convolution that gets smaller by it, and on request for every convolution."""

    judgement: ClassVar[str] = "The first to try on wide Linear layers; with kernels: all it takes convolutions too."

    method: Literal["svd"]
    kernels: Literal["pointwise", "all"] = "pointwise"
    """Whether k x k convolutions are factorized too, into a k x k one of fewer channels and a 1x1 one."""
    min_channels: Count = 1
    """Layers with fewer inputs or outputs stay."""
    recover: Recovery = Recovery(epochs=0)
    """Training afterwards."""


class ConvolutionParams(LowRankParams):
    """What the methods for convolutions have."""

    include_linear: bool = False
    """Whether Linear layers and 1x1 convolutions become pairs as well, as svd makes them: one budget for the whole model."""


class SpatialSvdParams(ConvolutionParams):
    """A k x 1 and a 1 x k convolution for each k x k one that gets smaller by it."""

    judgement: ClassVar[str] = (
        "The first to try on k x k convolutions: at equal size it lost less than tucker, and it saves more for larger k."
    )

    method: Literal["spatial_svd"]


class TuckerParams(ConvolutionParams):
    """A 1x1, a k x k and a 1x1 convolution, the middle one between fewer channels, for each convolution that gets smaller by it."""

    judgement: ClassVar[str] = (
        "For k x k convolutions of many channels: with vbmf: true the smallest of its family, and fast, with nothing to tune."
    )

    method: Literal["tucker"]


class CpParams(ConvolutionParams):
    """Four convolutions, 1x1, k x 1, 1 x k and 1x1, the middle ones depthwise, for each k x k one that gets smaller by it."""

    judgement: ClassVar[str] = (
        "Small and fast at a given low rank of wide layers; every rank is a fit of its own, so an energy or a budget takes long."
    )

    method: Literal["cp"]
    round_to: Count = 16
    """Ranks are multiples of this; energy and budget try doublings of it, up to half of a layer: every rank is a fit of its own."""

    @model_validator(mode="after")
    def _no_vbmf(self) -> "CpParams":
        if self.vbmf:
            raise ValueError("cp has no vbmf: its rank is not that of a matrix; give rank, energy, parameter_ratio or budget")
        return self


FactorizeParams = Annotated[
    SvdParams | SpatialSvdParams | TuckerParams | CpParams | FactorizedTrainingParams, Field(discriminator="method")
]
