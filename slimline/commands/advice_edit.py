"""What pruning and factorizing will not bring: each rule was measured once, and tells its figure."""

from slimline.commands.advice_case import XEON, Case, Rule

KERNEL_MULTIPLE = 8
NARROW_CHANNELS = 16
LARGE = 20_000_000
"""Weights from which a pass over the calibration sample for each head takes longer than anything else of the line."""
ZEROS_ALONE = ("magnitude", "taylor", "movement", "semi_structured", "l1_regularised", "lottery_ticket")
"""Methods that zero weights and leave every shape as it is."""


def _packed_elsewhere(case: Case) -> str | None:
    pack, others = getattr(case.config, "pack", "none"), [target for target in case.targets if target != "eager"]
    if pack == "none" or not others:
        return None
    return f"pack: {pack} makes fewer bytes on the target eager alone; on {', '.join(others)} the file is as large as without it"


def _zeros_alone(case: Case) -> str | None:
    others = [target for target in case.targets if target != "eager"]
    if case.config.method not in ZEROS_ALONE or not others:
        return None
    return f"zeros alone: dense kernels multiply them too, so on {', '.join(others)} neither bytes nor time get fewer; see method channels"


def _narrow_already(case: Case) -> str | None:
    widths = [layer.shape[0] for layer in case.layers if layer.is_convolution]
    if case.config.method != "channels" or not widths or max(widths) > NARROW_CHANNELS:
        return None
    return f"no convolution is wider than {max(widths)} channels: kernels gain little from fewer"


def _odd_ranks(case: Case) -> str | None:
    rank, multiple = getattr(case.config, "rank", None), getattr(case.config, "round_to", KERNEL_MULTIPLE)
    if not hasattr(case.config, "activation_aware") or (rank or multiple) % KERNEL_MULTIPLE == 0:
        return None
    return f"ranks that are no multiples of {KERNEL_MULTIPLE} save weights and little time; take multiples of 16"


def _pass_a_head(case: Case) -> str | None:
    weights = sum(layer.parameters for layer in case.layers)
    if case.config.method != "heads" or getattr(case.config, "criterion", "") != "output_change" or weights < LARGE:
        return None
    return f"criterion: output_change runs the calibration sample once for each head of {weights:,} weights; activation runs it once"


RULES = (
    Rule(_packed_elsewhere, "1,644,312 bytes with pack: sparse and 1,644,310 without, on onnxruntime", "tabular, 90 % zeros"),
    Rule(
        _zeros_alone,
        "80 % zeros: 1.00x the bytes, 1.00x of float32's speed, where channels gave 8.6x and 7.4x",
        f"the 11 M CNN of benchmarks/workloads, batch 1, ONNX Runtime, {XEON}",
    ),
    Rule(_narrow_already, "a quarter of the channels gone: 0.96x in int8", f"a ResNet-8 of 8 to 32 channels, batch 1, OpenVINO, {XEON}"),
    Rule(
        _pass_a_head,
        "48 s a pass of 64 windows of 256 tokens, so 72 min for 90 key/value groups",
        "SmolLM2-135M, one thread of an AMD EPYC",
    ),
    Rule(_odd_ranks, "ranks 10, 21, 42: 1.9x of float32, where multiples of 16 gave 2.2x", f"a ResNet-20, batch 1, ONNX Runtime, {XEON}"),
)
