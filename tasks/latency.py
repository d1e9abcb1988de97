"""The time that a method with a latency budget is told: one sample on ONNX Runtime, float32, one thread, in turns with the source.

Only such a variant reads a clock (docs/decisions/0008-latency-targets-read-a-clock.md).
"""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from slimline.data.batch import Batch, take
from slimline.data.signature import Arrays, signature_of
from slimline.measure.timing import Turn, take_turn
from slimline.methods import get_method
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.training.fit import predict

ROUNDS, SAMPLES = 5, 3


@dataclass(frozen=True)
class _Session:
    """A compiled model in this process."""

    session: Any

    def turn(self, inputs: Arrays) -> Turn:
        """Time it on a batch."""
        return take_turn(lambda: self.session.run(None, inputs), SAMPLES)


def latency_beside(source: nn.Module, example: Batch) -> Callable[[nn.Module], float]:
    """A function: model -> milliseconds of process CPU time for one sample of `example`.

    Any model's time is the source's, measured once, over the median ratio of their turns: two calls compare well on a machine whose
    speed changes. Nothing is compiled or measured before the first call.
    """

    batch = {name: value.numpy() for name, value in take(example, slice(0, 1)).items()}

    @functools.cache
    def reference() -> tuple[_Session, float]:
        session = _compiled(source, example)
        return session, float(np.median([session.turn(batch).cpu_ms for _ in range(ROUNDS)]))

    def latency_ms(model: nn.Module) -> float:
        baseline, source_ms = reference()
        if model is source:
            return source_ms
        beside = _compiled(model, example)
        return source_ms / float(np.median([_ratio(baseline, beside, batch, number) for number in range(ROUNDS)]))

    return latency_ms


def _ratio(baseline: _Session, model: _Session, batch: Arrays, number: int) -> float:
    """How many times the baseline's time is the model's, in one round of turns; every other round in reverse."""
    order = (baseline, model) if number % 2 == 0 else (model, baseline)
    times = {id(session): session.turn(batch).cpu_ms for session in order}
    return times[id(baseline)] / times[id(model)]


def _compiled(model: nn.Module, example: Batch) -> _Session:
    """The float32 graph of a model, loaded on one thread. ONNX Runtime is imported here: most stages need none."""
    switch_off_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    compiler = get_method("compile", "onnxruntime")
    signature = signature_of([example], predict(model, example))
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        compiler(model, None, Path(place), example=example, calibration=example, signature=signature)
        return _Session(onnxruntime.InferenceSession(Path(place) / "model.onnx", options, providers=["CPUExecutionProvider"]))
