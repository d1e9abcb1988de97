"""Configs of the quantization methods."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from slimline.params.section import VariantParams

NO_EAGER_INT8 = {"eager": "eager PyTorch has no int8 kernels; deploy it on onnxruntime or openvino"}


class StaticParams(VariantParams):
    """Post-training int8: per-channel symmetric weights, per-tensor asymmetric activations ranged by calibration."""

    judgement: ClassVar[str] = "The default for convolutions of 16 channels and more: about 4 times smaller, and faster with VNNI or AMX."
    needs_data: ClassVar[bool] = True
    impossible_on: ClassVar[Mapping[str, str]] = NO_EAGER_INT8

    method: Literal["static"]
    observer: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    keep_float: tuple[str, ...] = ()


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


QuantizeParams = Annotated[StaticParams | DynamicParams | HalfParams, Field(discriminator="method")]
