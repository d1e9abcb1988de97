"""Configs of the methods that make integer weights alone."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from slimline.params.quantize_targets import NO_INT4, NO_STORED_INT8
from slimline.params.section import Fraction, Names, Number, Positive, Steps, VariantParams


class IntegerWeightParams(VariantParams):
    """Integer weights, computed in float: what `weight_only` and `hqq` share."""

    impossible_on: ClassVar[Mapping[str, str]] = NO_STORED_INT8

    bits: Literal[4, 8] = 4
    """How many bits a weight takes."""
    group_size: Literal[32, 64, 128] = 64
    """Per group: how many weights of an output share a scale; smaller is more exact and takes more bytes (32: 1 bit a weight)."""
    keep_float: Names = ()
    """Layers that stay in float32; `*` stands for any part of a name."""
    embeddings: Literal["float32", "int8", "int4"] = "int8"
    """What lookup tables are stored in, and a head that shares their weights: int8 has a scale for each row, int4 one for each group."""
    compute: Literal["float32", "int8"] = "float32"
    """What matrix products compute in: int8 rounds their inputs while running, block by block, and reads weights as they are stored."""

    def refused_by(self, target: str) -> str | None:
        """Why a target cannot take this variant: Inductor, for one, has no 4-bit weights."""
        return NO_INT4 if target == "inductor" and (self.bits == 4 or self.embeddings == "int4") else super().refused_by(target)


class WeightOnlyParams(IntegerWeightParams):
    """Int8 or int4 weights, rounded to nearest; inputs stay in float."""

    judgement: ClassVar[str] = "Bytes without data: int8 a quarter, int4 a seventh; only wide Linear layers get faster, most at batch 1."

    method: Literal["weight_only"]
    granularity: Literal["per-tensor", "per-channel", "per-group"] = "per-group"
    """How many weights share a scale: a layer, an output channel, or a group of an output's inputs (for 4 bits)."""
    symmetric: bool = True
    """Whether zero is the middle level, or wherever the range of the weights puts it (more exact; zero points take bytes too)."""


class HqqParams(IntegerWeightParams):
    """Int4 or int8 weights in groups, whose zero points are fitted to them (half-quadratic quantization)."""

    judgement: ClassVar[str] = (
        "Int4 without data: nearer than symmetric rounding by 2 to 5 dB, than asymmetric by 1; half a bit more a weight."
    )

    method: Literal["hqq"]
    p: Annotated[float, Number, Field(gt=0, lt=1)] = 0.7
    """The norm of the error that is made least: below 1 a few large errors count little."""
    beta: Positive = 10.0
    """How large an error has to be, in levels, to count as an outlier: the larger beta, the more of them do."""
    kappa: Annotated[float, Number, Field(ge=1, le=1e6)] = 1.01
    """By how much beta grows with each iteration."""
    iterations: Steps = 20
    """Steps of the fit; 0 leaves the zero points where each group's smallest weight puts them."""


class CompensatedParams(IntegerWeightParams):
    """Integer weights in groups that are fitted to the calibration sample: what `gptq` and `awq` share."""

    needs_data: ClassVar[bool] = True

    bits: Literal[2, 3, 4, 8] = 4  # type: ignore[assignment]
    """How many bits a weight takes; 2 and 3 are stored in 4, since no runtime packs them closer."""
    symmetric: bool = False
    """Whether zero is the middle level, or wherever the range of the weights puts it (more exact; zero points take bytes too)."""
    compute: Literal["float32", "int8"] = "int8"
    """What matrix products compute in: int8 rounds their inputs while running, block by block, and reads weights as they are stored."""

    def refused_by(self, target: str) -> str | None:
        """Why a target cannot take this variant."""
        return NO_INT4 if target == "inductor" and self.bits < 8 else super().refused_by(target)


class GptqParams(CompensatedParams):
    """Integer weights in groups; each one's rounding error is made up for by those of the same output that come after it."""

    judgement: ClassVar[str] = "The first to try for int4 of language models: minutes of calibration, about half of rounding's loss."

    method: Literal["gptq"]
    act_order: bool = True
    """Whether the columns of the largest inputs are rounded first, while most others are left to make up for them."""
    search: bool = True
    """Whether the ends of each group's grid are searched, or lie at its smallest and largest weight."""
    damping: Fraction = 0.01
    """What is added to the diagonal of the inputs' second moment, as a share of its mean."""


class AwqParams(CompensatedParams):
    """Integer weights in groups; columns that meet large inputs are scaled up before they are rounded, and their inputs down."""

    judgement: ClassVar[str] = "Half of gptq's gain without its minutes; only where a norm or layer before a layer can take its scale."

    method: Literal["awq"]
    clip: bool = True
    """Whether the ends of each group's grid are searched, or lie at its smallest and largest weight."""
