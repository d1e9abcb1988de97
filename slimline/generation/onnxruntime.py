"""ONNX Runtime as an engine: a graph with past keys and values, which stay in the runtime's own memory from token to token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.generating import GenerationFacts
from slimline.artifact.signature import IDS, MASK
from slimline.generation.prompt_cache import ROTATED, Block
from slimline.generation.stepwise import Numbers
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import onnxruntime  # noqa: E402

LOGITS, TOLD_FROM = "logits", "logits_from"
"""The output, and the input (0 where none is given) that says from which place on it is wanted."""
PARTS = ("key", "value")


class OnnxNet:
    """A session of a language model; implements slimline.generation.stepwise.Net."""

    def __init__(self, session: Any, facts: GenerationFacts) -> None:
        self._session, self._facts = session, facts
        self.unkept = ROTATED if facts.rotates_by_length else None
        self._taken = {one.name for one in session.get_inputs()}
        self._tells_from = TOLD_FROM in {one.name for one in session.get_overridable_initializers()}
        self._names = [f"{number}.{part}" for number in range(len(facts.layers)) for part in PARTS]

    def run(self, tokens: Numbers, mask: Numbers, positions: Numbers, past: Any | None) -> tuple[NDArray[np.float32], Any]:
        """See Net; `past` is the runtime's own values, in the order of the layers, keys before values."""
        last = {TOLD_FROM: np.array([tokens.shape[1] - 1], np.int64)} if self._tells_from else {}
        logits, present = self._run(tokens, mask, positions, past, last)
        return logits[:, -1], present

    def all_logits(self, tokens: Numbers, mask: Numbers, positions: Numbers, past: Any | None) -> tuple[NDArray[np.float32], Any]:
        """The same for every place: logits [N, T, vocabulary]."""
        return self._run(tokens, mask, positions, past, {})

    def _run(
        self, tokens: Numbers, mask: Numbers, positions: Numbers, past: Any | None, more: dict[str, Numbers]
    ) -> tuple[NDArray[np.float32], Any]:
        given = {IDS: tokens, MASK: mask, "position_ids": positions}
        feeds = {name: _value(array) for name, array in (*given.items(), *more.items()) if name in self._taken or name in more}
        before = self._nothing(len(tokens)) if past is None else past
        feeds |= {f"past_key_values.{name}": value for name, value in zip(self._names, before, strict=True)}
        wanted = [LOGITS, *(f"present.{name}" for name in self._names)]
        logits, *present = self._session.run_with_ort_values(wanted, feeds)
        return logits.numpy(), present

    def blocks(self, past: Any, start: int, stop: int) -> Block:
        """See Net."""
        return [value.numpy()[:1, :, start:stop].copy() for value in past]

    def joined(self, blocks: Sequence[Block]) -> Any:
        """See Net."""
        return [_value(np.concatenate(pieces, axis=2)) for pieces in zip(*blocks, strict=True)]

    def _nothing(self, rows: int) -> list[Any]:
        shapes = [(rows, layer.heads, 0, layer.size) for layer in self._facts.layers for _ in PARTS]
        return [_value(np.zeros(shape, np.float32)) for shape in shapes]


def _value(array: NDArray[Any]) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
