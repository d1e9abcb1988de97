"""Int8 arithmetic for OpenVINO: NNCF's quantization with the plan's ranges."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch, split
from slimline.methods.compile.integer_weights import integer_weight
from slimline.methods.compile.openvino_edits import MOVES, source_beyond
from slimline.methods.compile.openvino_graph import layer_operations, other_operations
from slimline.methods.compile.openvino_integers import oriented, store_integers
from slimline.methods.compile.openvino_seven_bits import saturating_layers, store_in_seven_bits
from slimline.methods.compile.quiet import quiet
from slimline.methods.compile.signal_stack import kept_signal_stack
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, weighted_of_kind

switch_off_telemetry()
import nncf  # noqa: E402
import openvino as ov  # noqa: E402
from nncf.common.graph.patterns.patterns import IgnoredPatternNames  # noqa: E402
from nncf.openvino.quantization.ignored_patterns import OPENVINO_IGNORED_PATTERNS  # noqa: E402
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix  # noqa: E402
from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: E402

BATCH_SIZE = 32
ARITHMETIC = ("Add", "Multiply", "Subtract", "Divide", "Power", "Sqrt", "ReduceMean", "Maximum", "Select", "Negative")


def quantize_int8(model: ov.Model, plan: Plan, calibration: Batch) -> ov.Model:
    """The model with its static layers quantized, with the plan's input ranges and the source's biases, the rest in float.

    NNCF's fast bias correction is off: it takes an image for its channel means, and on small padded ones costs 10 to 20 dB.
    """
    batches = [{name: value.numpy() for name, value in batch.items()} for batch in split(calibration, BATCH_SIZE)]
    statics = weighted_of_kind(plan, "static")
    silent = contextlib.redirect_stdout(io.StringIO())  # progress bars
    with kept_signal_stack(), _squeezed_and_excited_too(), quiet("nncf", least=logging.WARNING), silent:
        quantized = nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=other_operations(model, statics), types=_arithmetic(model), validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.DISABLE,
                disable_bias_correction=True,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
    for layer, operation in layer_operations(quantized, statics):
        _set_range(operation, *plan["layers"][layer]["input_range"])
    _share_scales(model, quantized, plan)
    store_in_seven_bits(quantized, saturating_layers(plan, NO_GRIDS))
    return quantized


@contextlib.contextmanager
def _squeezed_and_excited_too() -> Iterator[None]:
    """Meanwhile NNCF quantizes the layers of squeeze-and-excitation, as the plan has them; it leaves them in float by itself, unasked."""
    patterns = OPENVINO_IGNORED_PATTERNS.registry_dict
    kept = patterns.pop(IgnoredPatternNames.SE_BLOCK)
    try:
        yield
    finally:
        patterns[IgnoredPatternNames.SE_BLOCK] = kept


def _arithmetic(model: ov.Model) -> list[str]:
    """The kinds of operations to leave in float beside layers: of a net with attention all arithmetic, such as masks, norms and rotations.

    NNCF would round it to int8, between convolutions a gain; a rotated query, or a mask of minus infinity, does not survive it.
    """
    attends = any(_attends(operation) for operation in model.get_ordered_ops())
    return list(ARITHMETIC) if attends else []


def _attends(operation: Any) -> bool:
    """Whether an operation is attention's: a softmax that more than the output reads, or the whole of it."""
    if operation.get_type_name() == "Softmax":
        readers = [port.get_node().get_type_name() for port in operation.output(0).get_target_inputs()]
        return any(reader != "Result" for reader in readers)
    return bool(operation.get_type_name() == "ScaledDotProductAttention")


def _set_range(operation: Any, low: float, high: float) -> None:
    """Give the FakeQuantize before an operation the planned range."""
    source = source_beyond(operation.input_value(0), MOVES)
    if source.get_type_name() != "FakeQuantize":
        return
    for index in range(1, 5):
        shape = list(source.input(index).get_shape())
        value = np.full(shape, (low, high)[(index - 1) % 2], np.float32)
        source.input(index).replace_source_output(ov.opset13.constant(value).output(0))


def _share_scales(model: ov.Model, quantized: ov.Model, plan: Plan) -> None:
    """Give the quantized layers that are planned per tensor one scale for all outputs, where NNCF gave one to each."""
    whole = [name for name in weighted_of_kind(plan, "static") if plan["layers"][name]["granularity"] == "per-tensor"]
    floats = {op.get_friendly_name(): oriented(op, op.input_value(1).get_node().data) for _, op in layer_operations(model, whole)}
    placed = [(op, layer, floats[op.get_friendly_name()]) for layer, op in layer_operations(quantized, whole)]
    store_integers([(op, integer_weight(torch.tensor(weight), plan["layers"][layer], None, weight)) for op, layer, weight in placed])
