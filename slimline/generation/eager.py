"""Eager PyTorch as an engine: the live net of transformers with its own cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from slimline.artifact.closed import closed
from slimline.artifact.generating import rotates_by_length
from slimline.artifact.signature import IDS, MASK
from slimline.data.windows import Windows
from slimline.generation.answers import Reader
from slimline.generation.prompt_cache import FORGETS, ROTATED, Block, PromptCache
from slimline.generation.stepwise import Numbers, Stepwise


def generator_of(model: Any, windows: Windows, cache: PromptCache | None = None) -> Stepwise:
    """The generator of a live causal net, whose `body` is transformers' own: also of one with simulated quantization."""
    body = closed(model.body)
    config: Any = body.config
    context = min(int(getattr(config, "max_position_embeddings", None) or windows.longest), windows.longest)
    return Stepwise(EagerNet(body), Reader(windows, int(config.vocab_size), context), cache)


class EagerNet:
    """A causal net of transformers; implements slimline.generation.stepwise.Net."""

    def __init__(self, body: Any) -> None:
        self._body = body
        forgets = any(type(layer) is not DynamicLayer for layer in DynamicCache(config=body.config).layers)
        self.unkept = ROTATED if rotates_by_length(body.config) else FORGETS if forgets else None

    def run(self, tokens: Numbers, mask: Numbers, positions: Numbers, past: Any | None) -> tuple[NDArray[np.float32], Any]:
        """See Net; `past` is transformers' own cache and grows in place."""
        cache = DynamicCache(config=self._body.config) if past is None else past
        given = {IDS: tokens, MASK: mask, "position_ids": positions}
        with torch.inference_mode():
            found = self._body(
                **{name: torch.from_numpy(value) for name, value in given.items()}, cache=cache, use_cache=True, logits_to_keep=1
            )
        return found.logits[:, -1].float().numpy(), cache

    def blocks(self, past: Any, start: int, stop: int) -> Block:
        """See Net; 16-bit numbers as float32, which NumPy has."""
        parts = [part for layer in past.layers for part in (layer.keys, layer.values)]
        return [part[:1, :, start:stop].float().numpy().copy() for part in parts]

    def joined(self, blocks: Sequence[Block]) -> Any:
        """See Net."""
        dtype = next(value.dtype for value in self._body.parameters() if value.is_floating_point())
        parts = [torch.from_numpy(np.concatenate(pieces, axis=2)).to(dtype) for pieces in zip(*blocks, strict=True)]
        return DynamicCache(list(zip(parts[::2], parts[1::2], strict=True)))
