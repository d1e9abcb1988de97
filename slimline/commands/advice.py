"""What int8 and 16 bits will not bring, said before it is tried: a table of rules, each measured once and told with its figure.

Nothing here imports torch: layers are read from the header of a variant's safetensors file, the CPU from /proc/cpuinfo.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from slimline.measure.machine import machine
from slimline.params import Params, VariantParams

WEIGHTS = Path("data/models")
HEADER_LENGTH_BYTES = 8
LONGEST_HEADER_BYTES = 100_000_000
NARROW_CHANNELS = 16
TINY_CHANNELS = 32
NAMED_LAYERS = 3
XEON = "a Xeon with AMX"
TWO_LAYERS = "two layers of 256 units on sequences of 8 steps, batch 1"
MOBILE_NET = "a MobileNetV2-like net with channels far apart: benchmarks/workloads/depthwise.py"
INT8_COMPUTE = ("static", "qat", "adaround")
"""Methods whose layers compute in int8, over ranges fixed before."""
ROUNDED_AS_TRAINED = ("static", "adaround")
"""Methods that neither train again nor leave layers in float where int8 hurts."""
LSTM_GATES, GRU_GATES = 4, 3
WEIGHTS_ALONE = ("weight_only", "hqq")
"""Methods that store small weights and compute in float."""
BFLOAT16_SETS, FLOAT16_SETS, INT8_SETS = {"amx_bf16", "avx512_bf16"}, {"avx512_fp16", "amx_fp16"}, {"avx_vnni", "avx512_vnni", "amx_int8"}


@dataclass(frozen=True)
class Layer:
    """One layer of a stored model: its module's name and the shape of its weight, outputs first."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_convolution(self) -> bool:
        """Whether the weight has kernel dimensions."""
        return len(self.shape) > 2

    @property
    def parameters(self) -> int:
        """How many values the weight holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Case:
    """One variant that is to be deployed: its method's config, where to, the layers it starts from, and this CPU's instruction sets."""

    variant: str
    config: VariantParams
    targets: tuple[str, ...]
    layers: tuple[Layer, ...]
    isa: frozenset[str]
    recurrent: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Rule:
    """When a scheme brings less than it seems to: `found` says what is the case here, `measured` what came of it, `where` on what."""

    found: Callable[[Case], str | None]
    measured: str
    where: str


def warnings(params: Params, root: Path) -> tuple[str, ...]:
    """One line for each rule that applies to a quantized variant that is deployed."""
    isa = frozenset(machine(1)["isa"])
    return tuple(
        f"{case.variant}: {found}; measured: {rule.measured} ({rule.where})"
        for case in _cases(params, root, isa)
        for rule in RULES
        if (found := rule.found(case)) is not None
    )


def recurrent_layers(path: Path) -> tuple[Layer, ...]:
    """The LSTM and GRU layers of a safetensors file, each by its first hidden matrix [gates x hidden, hidden]."""
    return stored_layers(path, ".weight_hh_l0")


def stored_layers(path: Path, ending: str = ".weight") -> tuple[Layer, ...]:
    """The Linear layers and convolutions of a safetensors file, by its header alone; none where the file is missing or torn."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
            header = json.loads(stream.read(length)) if length < LONGEST_HEADER_BYTES else {}
        return tuple(
            Layer(name.removesuffix(ending), tuple(entry["shape"]))
            for name, entry in header.items()
            if name.endswith(ending) and len(entry["shape"]) > 1
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return ()


def _cases(params: Params, root: Path, isa: frozenset[str]) -> Iterator[Case]:
    for name, config in params.quantize.items():
        if name in params.deploy.variants:
            paths = [root / WEIGHTS / source / "weights.safetensors" for source in params.lineage(name)[1:]]
            nearest = next((path for path in paths if path.is_file()), paths[-1])
            yield Case(name, config, params.deploy.targets, stored_layers(nearest), isa, recurrent_layers(nearest))


def _unpacked_gru(case: Case) -> str | None:
    found = [layer for layer in case.recurrent if layer.shape[0] == GRU_GATES * layer.shape[1]]
    if not found or case.config.method in ("half", "mixed"):
        return None
    return f"{_named(found)}, a GRU, gets int8 weights and computes in float: fewer bytes, no speed; method half is faster on openvino"


def _unpacked_lstm(case: Case) -> str | None:
    found = [layer for layer in case.recurrent if layer.shape[0] == LSTM_GATES * layer.shape[1]]
    if not found or case.config.method not in ("dynamic", *WEIGHTS_ALONE) or "openvino" not in case.targets:
        return None
    return f"{_named(found)}, an LSTM, computes in float on openvino without ranges: no speed there; method static computes it in int8"


def _narrow_layers(case: Case) -> str | None:
    if case.config.method not in INT8_COMPUTE:
        return None
    narrow = [layer for layer in case.layers if layer.is_convolution and layer.shape[0] < NARROW_CHANNELS]
    if not narrow:
        return None
    return f"{_named(narrow)} of fewer than {NARROW_CHANNELS} channels: int8 makes such layers smaller, not faster; keep them by keep_float"


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
    return f"{_named(convolutions)} get int8 weights and compute in float: fewer bytes, no speed; method static makes convolutions faster"


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
    return f"{_named(found)} of one input channel, with one scale for a whole layer; take granularity: per-channel"


def _depthwise_not_equalized(case: Case) -> str | None:
    if case.config.method not in ROUNDED_AS_TRAINED or getattr(case.config, "equalize", True) or not (found := _depthwise(case)):
        return None
    return f"{_named(found)} of one input channel: where their channels differ much in range, int8 loses labels; try equalize: true"


def _depthwise(case: Case) -> list[Layer]:
    """The depthwise convolutions; a single convolution of one input channel is the stem of a grey image."""
    found = [layer for layer in case.layers if layer.is_convolution and layer.shape[1] == 1 < layer.shape[0]]
    return found if len(found) > 1 else []


def _symmetric_activations(case: Case) -> str | None:
    if getattr(case.config, "activations", None) != "symmetric":
        return None
    return "activations: symmetric gives no speed here: x86 kernels take U8 inputs with any zero point; asymmetric has the finer levels"


def _no_int8_kernels(case: Case) -> str | None:
    if case.config.method not in (*INT8_COMPUTE, "dynamic") or not case.isa or case.isa & INT8_SETS:
        return None
    return "this CPU has neither VNNI nor AMX: int8 gains less speed, and U8 x S8 sums of two products can saturate"


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


def _named(layers: list[Layer]) -> str:
    shown = ", ".join(layer.name for layer in layers[:NAMED_LAYERS])
    rest = len(layers) - NAMED_LAYERS
    return f"{len(layers)} layer{'s' if len(layers) > 1 else ''} ({shown}{f' and {rest} more' if rest > 0 else ''})"


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
"""Every rule; a variant is told of each that applies."""
