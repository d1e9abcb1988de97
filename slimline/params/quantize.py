"""Configs of the quantization methods."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from slimline.params.quantize_targets import NO_INT4, NO_INT8_KERNELS, NO_TOKEN_RANGES, TOKEN_RANGES
from slimline.params.quantize_weights import AwqParams, GptqParams, HqqParams, WeightOnlyParams
from slimline.params.section import Amount, Count, Epochs, LowRankTraining, Names, Number, Positive, Section, Steps, VariantParams

Precision = Literal["float32", "bfloat16", "float16", "int8", "int4"]
RatioAboveOne = Annotated[float, Number, Field(gt=1, le=1e6)]
LayerKind = Literal["convolution", "depthwise", "linear"]
MAC_COST: dict[LayerKind, dict[Precision, float]] = {
    "convolution": {"float32": 1.0, "bfloat16": 1.0, "float16": 1.0, "int8": 0.42, "int4": 1.0},
    "depthwise": {"float32": 7.6, "bfloat16": 7.6, "float16": 7.6, "int8": 8.2, "int4": 7.6},
    "linear": {"float32": 1.5, "bfloat16": 1.5, "float16": 1.5, "int8": 0.2, "int4": 1.5},
}
"""The time of a multiply-accumulate on ONNX Runtime, float32 convolution = 1: from benchmarks/mac_cost.py (docs/decisions/0007)."""


class CalibratedParams(VariantParams):
    """Int8 weights and activations after training, ranged by the calibration sample: what `static` and `adaround` share."""

    needs_data: ClassVar[bool] = True
    impossible_on: ClassVar[Mapping[str, str]] = NO_INT8_KERNELS

    observer: Literal["minmax", "moving_average", "percentile", "mse", "entropy"] = "minmax"
    """Which range of a layer's inputs the 256 levels are spread over: all values, or fewer so that the levels are finer."""
    percentile: Annotated[float, Number, Field(gt=50, le=100)] = 99.99
    """For observer percentile: the share of values, in per cent, that lies below the upper end."""
    activations: Literal["asymmetric", "symmetric"] = "asymmetric"
    """Whether zero is where the range puts it or always level 128; symmetric wastes half of them behind a ReLU, for no gain on x86."""
    granularity: Literal["per-channel", "per-tensor"] = "per-channel"
    """Whether each output channel's weights have a scale of their own, or a layer's share one."""
    weight_observer: Literal["minmax", "mse"] = "minmax"
    """Whether the largest weight sets the scale, or weights are clipped where the squared error is least."""
    equalize: bool = False
    """Cross-layer equalisation: weight ranges of neighbouring layers are made alike; batch norms are folded first."""
    bias_correction: bool = False
    """Take the shift that rounding causes in each channel's mean output out of the biases; batch norms are folded first."""
    keep_float: Names = ()
    """Layers that stay in float32; `*` stands for any part of a name."""
    embeddings: Literal["float32", "int8"] = "int8"
    """What lookup tables are stored in; int8 has a scale for each row."""


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
    iterations: Steps = 100
    """Steps a layer; 0 rounds to the nearest level."""
    batch_size: Count = 32
    """Calibration samples a step."""
    learning_rate: Positive = 0.05
    """Of Adam, for the variable that decides each weight's direction."""
    regularisation: Amount = 1.0
    """The weight of the term that drives every decision to up or down."""


class QatParams(CalibratedParams, LowRankTraining):
    """Quantization-aware training: starts from static int8 and trains on with its rounding in place; the same kernels run it."""

    judgement: ClassVar[str] = "For what static int8 loses too much on, depthwise nets above all; needs labels and minutes of training."
    needs_labels: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    method: Literal["qat"]
    ranges: Literal["learned", "calibrated"] = "learned"
    """Whether the ranges of inputs and weights are trained as well (LSQ), or stay where calibration put them."""
    teacher_weight: Annotated[float, Number, Field(ge=0, le=1)] = 0.0
    """The share of the loss that compares the outputs with those of the float source (distillation); 0 is the labels alone."""
    epochs: Epochs = 10
    """The most epochs that it is trained for; 0 is static quantization with batch norms folded."""
    learning_rate: Positive = 0.001
    """The highest, after the warm-up; for weights in units of their channel's largest, for ranges in shares of themselves."""
    weight_decay: Amount = 0.0
    """AdamW's decoupled decay; it draws the ranges back to where calibration put them."""


class MixedBudget(Section):
    """What a mixed plan has to save, against float32: bytes of the weights, or estimated time of the layers. Give one of the two."""

    size_ratio: RatioAboveOne | None = None
    """How many times smaller the weights have to be, scales included."""
    latency_ratio: RatioAboveOne | None = None
    """How many times faster the layers have to be by MACs x `mac_cost`; an estimate, since no clock may decide what a model becomes."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "MixedBudget":
        if (self.size_ratio is None) == (self.latency_ratio is None):
            raise ValueError("give either size_ratio or latency_ratio")
        return self


class MixedParams(CalibratedParams):
    """Each layer in the precision that it can bear: as exact as the budget allows, then reverted layer by layer to the accuracy bound."""

    judgement: ClassVar[str] = (
        "When a few layers spoil int8, or int4 is to be used where it does no harm; measures every layer, a minute for a CNN."
    )

    method: Literal["mixed"]
    precisions: Annotated[tuple[Precision, ...], Field(min_length=2)] = ("float32", "bfloat16", "int8", "int4")
    """What a layer may become; int4 is weights alone, in groups."""
    inputs: Literal["calibrated", "running"] = "calibrated"
    """How int8 layers take their inputs: over ranges from calibration, or rounded block by block while running, which alone language models
    deploy; kernels may then round those of int4 layers too."""
    group_size: Literal[32, 64, 128] = 64
    """How many int4 weights of an output share a scale."""
    budget: MixedBudget = MixedBudget(size_ratio=3.0)
    """What has to be saved, by size or by latency."""
    max_drop: Annotated[float, Number, Field(ge=0, lt=1)] = 0.005
    """The bound: how far the metric may fall on validation, against the source."""
    max_flips: Annotated[float, Number, Field(ge=0, le=1)] | None = None
    """A finer bound beside it: the share of samples of validation and calibration that may change their class."""
    samples: Count = 64
    """How many samples each of calibration and validation every layer is tried on; whole plans are judged on all."""
    compensate: bool = False
    """Whether whole plans have the weights of layers with integer weights alone (int4, and int8 with inputs: running) rounded as gptq does
    it, each error made up for by others of the same output: seconds for a CNN, minutes for a language model."""
    tries: Count = 3
    """How many layers are tried before one is reverted: the most harmful ones."""
    mac_cost: dict[LayerKind, dict[Precision, Positive]] = MAC_COST
    """For latency_ratio: the time of a multiply-accumulate by kind of layer and precision, in any unit (see docs/decisions/0007)."""

    @field_validator("precisions")
    @classmethod
    def _each_once(cls, precisions: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(precisions)) < len(precisions):
            raise ValueError("names a precision twice")
        if {"float16", "bfloat16"} <= set(precisions):
            raise ValueError("takes float16 or bfloat16, not both: no runtime computes in both")
        return precisions

    @model_validator(mode="after")
    def _costs_are_known(self) -> "MixedParams":
        kinds = [kind for kind in get_args(LayerKind) if kind not in self.mac_cost]
        wanted = dict.fromkeys(("float32", *self.precisions))
        costs = [f"{name} of {kind}" for kind, costs in self.mac_cost.items() for name in wanted if name not in costs]
        if kinds or costs:
            raise ValueError(f"mac_cost lacks {', '.join([*kinds, *costs])}")
        return self

    def refused_by(self, target: str) -> str | None:
        """Why a target cannot take whatever the search may choose."""
        if target == "inductor" and "int4" in self.precisions:
            return NO_INT4
        if target == "executorch" and (beyond := set(self.precisions) - {"float32", "int8"}):
            return f"ExecuTorch's XNNPACK has float32 and int8 alone; leave {' and '.join(sorted(beyond))} out of precisions"
        return super().refused_by(target)


class SmoothquantParams(CalibratedParams):
    """Int8 weights and inputs after outliers of the inputs were moved into the weights."""

    judgement: ClassVar[str] = "For transformers whose inputs have outliers, where static or dynamic int8 loses; else it changes nothing."

    method: Literal["smoothquant"]
    strength: Annotated[float, Number, Field(ge=0, le=1)] = 0.5
    """How much of the inputs' outliers goes into the weights: 1 all of them; 0 puts the weights' own into the inputs instead."""
    ranges: Literal["dynamic", "per-token", "static"] = "dynamic"
    """Whether inputs are ranged while running, as a runtime's own kernels do it (dynamic) or each token apart, scales that no norm can take
    included (per-token), or by the calibration sample (static)."""
    compensate: bool = True
    """Of ranges per-token: whether each weight's rounding error is made up for by others of the same output, as gptq does it; minutes."""
    rest: Literal["float32", "bfloat16"] = "float32"
    """Of ranges dynamic and per-token, as in `dynamic`: what openvino computes in where it is not int8, if the CPU has bfloat16."""

    @model_validator(mode="after")
    def _rest_is_no_static_setting(self) -> "SmoothquantParams":
        if self.ranges == "static" and self.rest != "float32":
            raise ValueError("takes rest: bfloat16 with ranges dynamic or per-token; what is between static layers is float32")
        return self

    def refused_by(self, target: str) -> str | None:
        """Why a target cannot take this variant: ranges for each token are written for two runtimes."""
        lacks_tokens = self.ranges == "per-token" and target not in self.impossible_on and target not in TOKEN_RANGES
        return NO_TOKEN_RANGES if lacks_tokens else super().refused_by(target)


class DynamicParams(VariantParams):
    """Int8 weights; the inputs of Linear and LSTM layers are ranged while running, convolutions and GRU layers compute in float."""

    judgement: ClassVar[str] = (
        "For Linear layers, and LSTM on onnxruntime, without calibration data; gives convolutions and GRU bytes but no speed."
    )
    impossible_on: ClassVar[Mapping[str, str]] = NO_INT8_KERNELS

    method: Literal["dynamic"]
    keep_float: Names = ()
    """Layers that stay in float32; `*` stands for any part of a name."""
    embeddings: Literal["float32", "int8"] = "int8"
    """What lookup tables are stored in; int8 has a scale for each row."""
    rest: Literal["float32", "bfloat16"] = "float32"
    """What openvino computes in where it is not int8 (attention, norms, inputs of int8 products), if the CPU has bfloat16; others stay."""


class HalfParams(VariantParams):
    """16-bit weights, and 16-bit arithmetic where the CPU has it."""

    judgement: ClassVar[str] = "Half the bytes at nearly no drop; fast only where the CPU computes in bf16 or fp16 (AMX)."
    impossible_on: ClassVar[Mapping[str, str]] = {
        "executorch": "ExecuTorch's XNNPACK stores convolutions in float32 and has no bfloat16; deploy it on openvino, or int8 here"
    }

    method: Literal["half"]
    dtype: Literal["float16", "bfloat16"] = "bfloat16"
    """bfloat16 has float32's range and 8 bits of precision, float16 11 bits and a largest value of 65,504."""


QuantizeParams = Annotated[
    StaticParams
    | AdaroundParams
    | QatParams
    | DynamicParams
    | HalfParams
    | MixedParams
    | WeightOnlyParams
    | HqqParams
    | GptqParams
    | AwqParams
    | SmoothquantParams,
    Field(discriminator="method"),
]
