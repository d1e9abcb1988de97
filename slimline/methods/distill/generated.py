"""Texts that a language model writes, as windows to train another on, and what there is to say of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slimline.artifact.closed import closed
from slimline.artifact.signature import IDS, MASK
from slimline.data.samples import Samples, Split, in_order
from slimline.errors import Impossible
from slimline.objectives.causal_lm import BYTES, DOCUMENT, TOKENS
from slimline.objectives.readings import IGNORED
from slimline.params import SequenceParams

TOGETHER = 32
"""Texts that are written at a time."""
SIZES = (1, 2, 3)
"""Of n-grams whose diversity is told."""
ALIKE = (4, 8, 13)
"""Of n-grams whose share that stands in test is told."""


@dataclass(frozen=True)
class Written:
    """Token rows [N, length] that begin with a prompt, those that were thrown away not among them, and findings by name."""

    rows: NDArray[np.int64]
    prompt: int
    findings: dict[str, float]

    @property
    def samples(self) -> Samples:
        """What was written is asked for, the prompt is not."""
        ids = torch.from_numpy(self.rows)
        following = torch.full_like(ids, IGNORED)
        following[:, self.prompt - 1 : -1] = ids[:, self.prompt :]
        none = torch.zeros(len(ids), dtype=torch.long)
        return Samples({IDS: ids, MASK: torch.ones_like(ids)}, {TOKENS: following, BYTES: none, DOCUMENT: none.clone()})


def written(teacher: nn.Module, config: SequenceParams, train: Split, held_out: Split | None, seed: int) -> Written:
    """Windows that the teacher goes on with from the beginnings of training windows, drawn by `seed`.

    A text is thrown away where `overlap_tokens` of its tokens in a row stand in `held_out`, one of them at least written by the teacher.

    Raises:
        StageError: the teacher is no language model of transformers, or nothing was left.
    """
    beginnings = _beginnings(train, config, seed)
    length = next(iter(train.batches([slice(0, 1)]))).inputs[IDS].shape[1]
    rows = np.concatenate(list(_gone_on(teacher, beginnings, length, config, seed)))
    prompt = beginnings.shape[1]
    known = _grams(_rows_of(held_out), config.overlap_tokens) if held_out is not None else set()
    copied = np.array([_any_known(row, known, config.overlap_tokens, prompt) for row in rows], dtype=bool)
    if copied.all():
        raise Impossible(
            "distill: sequence: every text that the teacher wrote holds a stretch of test; raise overlap_tokens or temperature"
        )
    left = rows[~copied]
    findings = {"texts": float(len(rows)), "thrown away": float(copied.sum()), "tokens written": float(left[:, prompt:].size)}
    findings |= {f"distinct {size}-grams": _distinct(left[:, prompt:], size) for size in SIZES}
    if held_out is not None:
        findings |= {
            f"{size}-grams that stand in test": _shared(left[:, prompt:], _grams(_rows_of(held_out), size), size) for size in ALIKE
        }
    return Written(left, prompt, findings)


def _beginnings(train: Split, config: SequenceParams, seed: int) -> Tensor:
    """The first tokens of training windows [texts, prompt], by chance; some twice where there are too few. None is filled up.

    Raises:
        Impossible: no window has as many tokens.
    """
    length = next(iter(train.batches([slice(0, 1)]))).inputs[IDS].shape[1]
    prompt = min(config.prompt_tokens, length - 2)
    whole = torch.tensor([place for place, row in enumerate(_rows_of(train)) if len(row) > prompt])
    if not len(whole):
        raise Impossible(f"distill: sequence: no window of training has more than {prompt} tokens to begin with; lower prompt_tokens")
    draw = torch.Generator().manual_seed(seed)
    places = torch.cat([whole[torch.randperm(len(whole), generator=draw)] for _ in range(-(-config.texts // len(whole)))])
    return next(iter(train.batches([places[: config.texts]]))).inputs[IDS][:, :prompt]


def _gone_on(teacher: nn.Module, beginnings: Tensor, length: int, config: SequenceParams, seed: int) -> Iterator[NDArray[np.int64]]:
    body: Any = closed(cast("nn.Module", getattr(teacher, "body", teacher)))
    if not hasattr(body, "generate"):
        raise Impossible(f"distill: sequence: {type(teacher).__name__} writes no text; take a language model, or soft_targets")
    kind: dict[str, Any] = {"do_sample": True, "temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
    sizes = {"max_new_tokens": length - beginnings.shape[1], "min_new_tokens": length - beginnings.shape[1], "pad_token_id": 0}
    was_training = teacher.training
    teacher.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for some in torch.split(beginnings, TOGETHER):
            yield body.generate(input_ids=some, attention_mask=torch.ones_like(some), **kind, **sizes).numpy()
    teacher.train(was_training)


def _rows_of(split: Split) -> Iterator[NDArray[np.int64]]:
    for batch in in_order(split, 1024):
        there = batch.inputs[MASK].bool()
        yield from (row[mine].numpy() for row, mine in zip(batch.inputs[IDS], there, strict=True))


def _grams(rows: Iterable[NDArray[np.int64]], size: int) -> set[bytes]:
    return {row[place : place + size].tobytes() for row in rows for place in range(len(row) - size + 1)}


def _any_known(row: NDArray[np.int64], known: set[bytes], size: int, prompt: int) -> bool:
    """Whether a stretch that ends behind the prompt is known."""
    first = max(0, prompt - size + 1)
    return any(row[place : place + size].tobytes() in known for place in range(first, len(row) - size + 1))


def _distinct(rows: NDArray[np.int64], size: int) -> float:
    """The share of n-grams that are different ones; Li et al. 2016, "A diversity-promoting objective" (arXiv 1510.03055)."""
    return float(len(_grams(rows, size)) / max(1, len(rows) * (rows.shape[1] - size + 1)))


def _shared(rows: NDArray[np.int64], known: set[bytes], size: int) -> float:
    grams = [row[place : place + size].tobytes() for row in rows for place in range(len(row) - size + 1)]
    return sum(gram in known for gram in grams) / max(1, len(grams))
