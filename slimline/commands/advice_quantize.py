"""What int8 and 16 bits will not bring: each rule was measured once, and tells its figure."""

from slimline.commands.advice_case import XEON, Case, Layer, Rule, named
from slimline.methods.compile.saturation import WIDE_SETS

NARROW_CHANNELS = 16
TINY_CHANNELS = 32
TWO_LAYERS = "two layers of 256 units on sequences of 8 steps, batch 1"
MOBILE_NET = "a MobileNetV2-like net with channels far apart: benchmarks/workloads/depthwise.py"
INT8_COMPUTE = ("static", "qat", "adaround")
"""Methods whose layers compute in int8, over ranges fixed before."""
ROUNDED_AS_TRAINED = ("static", "adaround")
"""Methods that neither train again nor leave layers in float where int8 hurts."""
LSTM_GATES, GRU_GATES = 4, 3
WEIGHTS_ALONE = ("weight_only", "hqq")
"""Methods that store small weights and compute in float."""
BFLOAT16_SETS, FLOAT16_SETS = {"amx_bf16", "avx512_bf16"}, {"avx512_fp16", "amx_fp16"}


def _unpacked_gru(case: Case) -> str | None:
    found = [layer for layer in case.recurrent if layer.shape[0] == GRU_GATES * layer.shape[1]]
    if not found or case.config.method in ("half", "mixed"):
        return None
    return f"{named(found)}, a GRU, gets int8 weights and computes in float: fewer bytes, no speed; method half is faster on openvino"


def _unpacked_lstm(case: Case) -> str | None:
    found = [layer for layer in case.recurrent if layer.shape[0] == LSTM_GATES * layer.shape[1]]
    if not found or case.config.method not in ("dynamic", *WEIGHTS_ALONE) or "openvino" not in case.targets:
        return None
    return f"{named(found)}, an LSTM, computes in float on openvino without ranges: no speed there; method static computes it in int8"


def _narrow_layers(case: Case) -> str | None:
    if case.config.method not in INT8_COMPUTE:
        return None
    narrow = [layer for layer in case.layers if layer.is_convolution and layer.shape[0] < NARROW_CHANNELS]
    if not narrow:
        return None
    return f"{named(narrow)} of fewer than {NARROW_CHANNELS} channels: int8 makes such layers smaller, not faster; keep them by keep_float"


def _tiny_model(case: Case) -> str | None:
    widths = [*(layer.shape[0] for layer in case.layers), *(layer.shape[1] for layer in case.recurrent)]
    widest = max(widths, default=TINY_CHANNELS + 1)
    if case.config.method not in INT8_COMPUTE or widest > TINY_CHANNELS:
        return None
    return f"no layer is wider than {widest} channels: int8 makes such a model smaller, hardly faster, and slower on onnxruntime"


def _dynamic_convolutions(case: Case) -> str | None:
    convolutions = [layer for layer in case.layers if layer.is_convolution]
    if case.config.method != "dynamic" or not convolutions:
        return None
    return f"{named(convolutions)} get int8 weights and compute in float: fewer bytes, no speed; method static makes convolutions faster"


def _convolutions_with_weights_alone(case: Case) -> str | None:
    held = sum(layer.parameters for layer in case.layers if layer.is_convolution)
    total = sum(layer.parameters for layer in case.layers)
    if case.config.method not in WEIGHTS_ALONE or 2 * held <= total:
        return None
    return f"{held / total:.0%} of its weights are convolutions: they are unpacked and computed in float; method static makes them faster"


def _four_bits(case: Case) -> str | None:
    bits = getattr(case.config, "bits", None)
    if case.config.method not in WEIGHTS_ALONE or bits != 4 or "onnxruntime" not in case.targets:
        return None
    return "int4 weights on onnxruntime: Linear layers are faster at batch 1, from 4 on float32 is as fast or faster; see openvino"


def _depthwise_per_tensor(case: Case) -> str | None:
    if getattr(case.config, "granularity", None) != "per-tensor" or not (found := _depthwise(case)):
        return None
    return f"{named(found)} of one input channel, with one scale for a whole layer; take granularity: per-channel"


def _depthwise_not_equalized(case: Case) -> str | None:
    if case.config.method not in ROUNDED_AS_TRAINED or getattr(case.config, "equalize", True) or not (found := _depthwise(case)):
        return None
    return f"{named(found)} of one input channel: where their channels differ much in range, int8 loses labels; try equalize: true"


def _depthwise(case: Case) -> list[Layer]:
    """The depthwise convolutions; a single convolution of one input channel is the stem of a grey image."""
    found = [layer for layer in case.layers if layer.is_convolution and layer.shape[1] == 1 < layer.shape[0]]
    return found if len(found) > 1 else []


def _symmetric_activations(case: Case) -> str | None:
    if getattr(case.config, "activations", None) != "symmetric":
        return None
    return "activations: symmetric gives no speed here: x86 kernels take U8 inputs with any zero point; asymmetric has the finer levels"


def _no_int8_kernels(case: Case) -> str | None:
    if case.config.method not in (*INT8_COMPUTE, "dynamic", "smoothquant") or not case.isa or case.isa & WIDE_SETS:
        return None
    is_rounded = case.config.method in INT8_COMPUTE or getattr(case.config, "ranges", None) == "per-token"
    stored = "; openvino gets 7-bit weights, or sums of products would saturate" if is_rounded and "openvino" in case.targets else ""
    return f"this CPU has neither VNNI nor AMX: int8 gains less speed{stored}"


def _no_half_arithmetic(case: Case) -> str | None:
    needed = BFLOAT16_SETS if getattr(case.config, "dtype", None) == "bfloat16" else FLOAT16_SETS
    if case.config.method != "half" or not case.isa or case.isa & needed:
        return None
    return f"this CPU has no {getattr(case.config, 'dtype', 'bfloat16')} arithmetic: half the bytes, no speed"


def _half_on_onnxruntime(case: Case) -> str | None:
    if case.config.method != "half" or "onnxruntime" not in case.targets:
        return None
    return "onnxruntime unpacks 16-bit weights at load and computes in float32: half the bytes, no speed; openvino computes in 16 bits"


def _float16_on_openvino(case: Case) -> str | None:
    if getattr(case.config, "dtype", None) != "float16" or "openvino" not in case.targets:
        return None
    return "openvino computes float16 more slowly than float32 on CPUs: half the bytes, less speed; take dtype: bfloat16"


RULES = (
    Rule(_narrow_layers, "int8 ran at 0.84x of float32", f"a ResNet-8 of 8 to 32 channels, batch 1, ONNX Runtime, {XEON}"),
    Rule(_tiny_model, "int8 ran at 0.67x of float32", f"a CNN of 16, 32 and 32 channels on digits, batch 1, ONNX Runtime, {XEON}"),
    Rule(_dynamic_convolutions, "1.3x of float32, where static was 3.3x", f"digits, batch 1, ONNX Runtime, {XEON}"),
    Rule(_unpacked_lstm, "0.97x of float32, where static was 1.5x and, at batch 32, 2.5x", f"{TWO_LAYERS}, OpenVINO, {XEON}"),
    Rule(_unpacked_gru, "1.0x of float32 on both runtimes; half on openvino 1.4x and, at batch 32, 2.3x", f"{TWO_LAYERS}, {XEON}"),
    Rule(_convolutions_with_weights_alone, "1.0x of float32, where static was 3.1x", f"digits, batch 1, ONNX Runtime, {XEON}"),
    Rule(_four_bits, "0.79x of float32", f"a transformer of 22 M parameters, batch 1, ONNX Runtime, {XEON}"),
    Rule(_symmetric_activations, "U8 with zero point 128 halves the levels", "by arithmetic: values behind a ReLU use 128 of 256"),
    Rule(_depthwise_per_tensor, "90 % of the labels flipped, with a scale a channel 11 %", f"simulated, {MOBILE_NET}"),
    Rule(_depthwise_not_equalized, "14 % of the labels flipped on ONNX Runtime and 23 % on OpenVINO, equalised 0.3 %", MOBILE_NET),
    Rule(
        _no_int8_kernels,
        "with AVX2 alone int8 ran at 1.7x of float32, at batch 32 at 2.0x, where AMX gave 2.4x and 3.7x",
        f"digits, OpenVINO, its kernels held down by ONEDNN_MAX_CPU_ISA, {XEON}",
    ),
    Rule(_half_on_onnxruntime, "0.98x of float32, where openvino was 1.9x", f"digits, batch 1, {XEON}"),
    Rule(_float16_on_openvino, "0.7x of float32, where bfloat16 was 2.0x and, at batch 32, 3.0x", f"digits, OpenVINO, {XEON}"),
    Rule(_no_half_arithmetic, "0.98x of float32 where weights are unpacked", f"digits, batch 1, ONNX Runtime, {XEON}"),
)
