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
from torch import Tensor, nn

from slimline.measure.latency import interleave, pair_ratio
from slimline.measure.timing import Sample, time_calls
from slimline.methods import get_method
from slimline.methods.compile.telemetry import switch_off_telemetry

PAIRS = 40
CONFIDENCE = 0.95


@dataclass(frozen=True)
class _Session:
    """A compiled model in this process; implements slimline.measure.latency.Timed."""

    session: Any

    def time(self, batch: Path, calls: int) -> Sample:
        """Time some calls on the batch stored in a .npy file."""
        inputs = {self.session.get_inputs()[0].name: np.load(batch, allow_pickle=False)}
        return time_calls(lambda: self.session.run(None, inputs), calls)


def latency_beside(source: nn.Module, example_input: Tensor) -> Callable[[nn.Module], float]:
    """A function: model -> milliseconds of process CPU time for one sample of `example_input` [N, …].

    Any model's time is the source's, measured once, over the median of the pair ratios of both: two calls compare well on a machine
    whose speed changes. Nothing is compiled or measured before the first call.
    """

    @functools.cache
    def reference() -> tuple[_Session, float]:
        session = _compiled(source, example_input)
        return session, float(np.median([sample.cpu_ms for sample in _timed({"source": session}, example_input)["source"]]))

    def latency_ms(model: nn.Module) -> float:
        baseline, source_ms = reference()
        if model is source:
            return source_ms
        samples = _timed({"source": baseline, "model": _compiled(model, example_input)}, example_input)
        times = {name: [sample.cpu_ms for sample in timed] for name, timed in samples.items()}
        return source_ms / float(pair_ratio(times["source"], times["model"], CONFIDENCE)["value"])

    return latency_ms


def _timed(sessions: dict[str, _Session], example_input: Tensor) -> dict[str, list[Sample]]:
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        batch = Path(place) / "batch.npy"
        np.save(batch, example_input[:1].numpy(), allow_pickle=False)
        return interleave(sessions, batch, PAIRS)


def _compiled(model: nn.Module, example_input: Tensor) -> _Session:
    """The float32 graph of a model, loaded on one thread. ONNX Runtime is imported here: most stages need none."""
    switch_off_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    compiler = get_method("compile", "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        compiler(model, None, Path(place), example_input=example_input, calibration=example_input)
        return _Session(onnxruntime.InferenceSession(Path(place) / "model.onnx", options, providers=["CPUExecutionProvider"]))
