"""Configs of the quantization methods."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from slimline.params.section import Count, Number, Positive, Training, VariantParams

NO_EAGER_INT8 = {"eager": "eager PyTorch has no int8 kernels; deploy it on onnxruntime or openvino"}


class CalibratedParams(VariantParams):
    """Int8 weights and activations after training, ranged by the calibration sample: what `static` and `adaround` share."""

    needs_data: ClassVar[bool] = True
    impossible_on: ClassVar[Mapping[str, str]] = NO_EAGER_INT8

    observer: Literal["minmax", "moving_average", "percentile", "mse", "entropy"] = "minmax"
    """Which range of a layer's inputs the 256 levels are spread over: all values, or fewer so that the levels are finer."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """For observer percentile: the share of values, in per cent, that lies below the upper end."""
    activations: Literal["asymmetric", "symmetric"] = "asymmetric"
    """Whether zero is where the range puts it, or always level 128; symmetric wastes half of the levels behind a ReLU."""
    granularity: Literal["per-channel", "per-tensor"] = "per-channel"
    """Whether each output channel's weights have a scale of their own, or a layer's share one."""
    weight_observer: Literal["minmax", "mse"] = "minmax"
    """Whether the largest weight sets the scale, or weights are clipped where the squared error is least."""
    equalize: bool = False
    """Cross-layer equalisation: weight ranges of neighbouring layers are made alike; batch norms are folded first."""
    bias_correction: bool = False
    """Take the shift that rounding causes in each channel's mean output out of the biases; batch norms are folded first."""
    keep_float: tuple[str, ...] = ()
    """Layers that stay in float32; `*` stands for any part of a name."""


class StaticParams(CalibratedParams):
    """Post-training int8: symmetric weights, per-tensor activations ranged by calibration; each weight to its nearest level."""

    judgement: ClassVar[str] = "The default for convolutions of 16 channels and more: about 4 times smaller, and faster with VNNI or AMX."

    method: Literal["static"]


class AdaroundParams(CalibratedParams):
    """Post-training int8 whose weights are rounded up or down so that each layer's output on the calibration sample stays."""

    judgement: ClassVar[str] = (
        "When static int8 loses a little too much and there are no labels to train with; half a minute, same kernels."
    )

    method: Literal["adaround"]
    iterations: Annotated[int, Field(ge=0)] = 300
    """Steps a layer; 0 rounds to the nearest level."""
    batch_size: Count = 32
    """Calibration samples a step."""
    learning_rate: Positive = 0.02
    """Of Adam, for the variable that decides each weight's direction."""
    regularisation: Annotated[float, Field(ge=0)] = 0.01
    """The weight of the term that drives every decision to up or down."""


class QatParams(CalibratedParams, Training):
    """Quantization-aware training: starts from static int8 and trains on with its rounding in place; the same kernels run it."""

    judgement: ClassVar[str] = "For what static int8 loses too much on, depthwise nets above all; needs labels and minutes of training."

    method: Literal["qat"]
    ranges: Literal["learned", "calibrated"] = "learned"
    """Whether the ranges of inputs and weights are trained as well (LSQ), or stay where calibration put them."""
    teacher_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of the loss that compares the outputs with those of the float source (distillation); 0 is the labels alone."""
    epochs: Annotated[int, Number, Field(ge=0)] = 10
    """The most epochs that it is trained for; 0 is static quantization with batch norms folded."""
    learning_rate: Positive = 0.001
    """The highest, after the warm-up; for weights in units of their channel's largest, for ranges in shares of themselves."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decoupled decay; it draws the ranges back to where calibration put them."""


class IntegerWeightParams(VariantParams):
    """Integer weights, computed in float: what `weight_only` and `hqq` share."""

    impossible_on: ClassVar[Mapping[str, str]] = NO_EAGER_INT8

    bits: Literal[4, 8] = 4
    """How many bits a weight takes."""
    group_size: Literal[32, 64, 128] = 64
    """Per group: how many weights of an output share a scale; smaller is more exact and takes more bytes (32: 1 bit a weight)."""
    keep_float: tuple[str, ...] = ()
    """Layers that stay in float32; `*` stands for any part of a name."""


class WeightOnlyParams(IntegerWeightParams):
    """Int8 or int4 weights, rounded to nearest; inputs stay in float."""

    judgement: ClassVar[str] = "For bytes without data: int8 loses nothing, int4 a little; faster for Linear alone, at batch 1 above all."

    method: Literal["weight_only"]
    granularity: Literal["per-tensor", "per-channel", "per-group"] = "per-group"
    """How many weights share a scale: a layer, an output channel, or a group of an output's inputs (for 4 bits)."""
    symmetric: bool = True
    """Whether zero is the middle level, or wherever the range of the weights puts it (more exact; zero points take bytes too)."""


class HqqParams(IntegerWeightParams):
    """Int4 or int8 weights in groups, whose zero points are fitted to them (half-quadratic quantization)."""

    judgement: ClassVar[str] = "Int4 without data at less error than rounding to nearest; a second in all, its zero points take half a bit."

    method: Literal["hqq"]
    p: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """The norm of the error that is made least: below 1 a few large errors count little."""
    beta: Positive = 10.0
    """How large an error has to be, in levels, to count as an outlier: the larger beta, the more of them do."""
    kappa: Annotated[float, Field(ge=1)] = 1.01
    """By how much beta grows with each iteration."""
    iterations: Annotated[int, Field(ge=0)] = 20
    """Steps of the fit; 0 leaves the zero points where each group's smallest weight puts them."""


class DynamicParams(VariantParams):
    """Int8 weights; Linear activations are ranged while running, convolutions stay float in computation."""

    judgement: ClassVar[str] = "For Linear layers without calibration data; gives convolutions bytes but no speed."
    impossible_on: ClassVar[Mapping[str, str]] = NO_EAGER_INT8

    method: Literal["dynamic"]
    keep_float: tuple[str, ...] = ()


class HalfParams(VariantParams):
    """16-bit weights, and 16-bit arithmetic where the CPU has it."""

    judgement: ClassVar[str] = "Half the bytes at nearly no drop; fast only where the CPU computes in bf16 or fp16 (AMX)."

    method: Literal["half"]
    dtype: Literal["float16", "bfloat16"] = "bfloat16"


QuantizeParams = Annotated[
    StaticParams | AdaroundParams | QatParams | DynamicParams | HalfParams | WeightOnlyParams | HqqParams, Field(discriminator="method")
]
