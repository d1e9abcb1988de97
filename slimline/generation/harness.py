"""lm-evaluation-harness over a model that is loaded here, and its tasks over local files.

Gao et al., "A framework for few-shot language model evaluation", https://github.com/EleutherAI/lm-evaluation-harness
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1"
)

import datasets
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from numpy.typing import NDArray

from slimline.artifact.border import told_as
from slimline.artifact.signature import IDS, MASK
from slimline.data.windows import Windows, filled
from slimline.errors import InputError
from slimline.generation import Generator, Sampling
from slimline.generation.harness_tasks import TaskFile, read_split

HELD_BYTES = 256 * 1024**2
"""So many bytes of logits are held at a time."""
LEAST = 2
"""Tokens that a scored row has at least, as a graph with a free axis asks."""
ANSWER = 256
"""Tokens of an answer, where a task sets none."""
Pair = tuple[list[int], list[int]]
"""What is known, and what is to be told after it."""
Predict = Callable[[Mapping[str, NDArray[Any]]], Any]
"""input_ids and attention_mask [N, T] -> logits [N, T, vocabulary]."""

for name in ("lm_eval", "datasets", "evaluate"):
    logging.getLogger(name).setLevel(logging.ERROR)


class HarnessModel(LM):  # type: ignore[misc]
    """A model of ours as the harness asks it: log-likelihoods by its scoring graph, answers by its generator.

    A text without a beginning is scored after the tokenizer's own, or the token that ends texts. What is longer than the net takes loses
    its beginning.
    """

    def __init__(self, predict: Predict, generator: Generator, windows: Windows) -> None:
        super().__init__()
        self._predict, self._generator, self._windows = predict, generator, windows
        self._vocabulary = int(windows.reader.get_vocab_size())
        self._longest = min(windows.longest, generator.context)
        self._first = windows.ends[0] if windows.ends else windows.pad_id

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Nats (negative) of each continuation after its context, and whether greedy decoding writes it."""
        return self._scored([self._pair(*request.args) for request in requests])

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Nats (negative) of whole texts; each token is told once, after as much as the net takes."""
        found = []
        for request in requests:
            begin, tokens = self._begun(request.args[0])
            parts = get_rolling_token_windows(tokens, begin[-1], self._longest, 1)
            found.append(sum(nats for nats, _ in self._scored([make_disjoint_window(part) for part in parts])))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What the model writes after each prompt, up to one of the task's ends."""
        return [self._answer(*request.args) for request in requests]

    def _answer(self, prompt: str, asked: Mapping[str, Any]) -> str:
        ends = asked.get("until") or ()
        sampling = Sampling(
            max_new_tokens=int(asked.get("max_gen_toks", ANSWER)),
            temperature=float(asked.get("temperature", 0.0)) if asked.get("do_sample") else 0.0,
            top_p=float(asked.get("top_p", 1.0)),
            seed=0,
            stop=(ends,) if isinstance(ends, str) else tuple(end for end in ends if end),
        )
        tokens = [*self._windows.tokens(prompt)] or [self._first]
        return self._generator.generate(tokens[-max(1, self._longest - sampling.max_new_tokens) :], sampling).text

    def _begun(self, text: str) -> Pair:
        """What stands before a text, and its own tokens: the tokenizer's beginning, or the token that ends texts."""
        tokens, begun = [*self._windows.tokens(text)], self._windows.added[0]
        return (tokens[:begun], tokens[begun:]) if begun else ([self._first], tokens)

    def _pair(self, context: str, continuation: str) -> Pair:
        """Both texts as tokens, cut where the context's own tokens end; blanks at its end belong to the continuation."""
        blanks = len(context) - len(context.rstrip())
        if blanks:
            context, continuation = context[:-blanks], context[-blanks:] + continuation
        if not context:
            return self._begun(continuation)
        whole, known = [*self._windows.tokens(context + continuation)], len(self._windows.tokens(context))
        return whole[:known], whole[known:]

    def _scored(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """The same for tokens, in the order given; rows of equal length are one batch."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
        for numbers in self._batches([len(known) + len(told) - 1 for known, told in pairs]):
            rows = [np.asarray((pairs[number][0] + pairs[number][1])[:-1][-self._longest :], np.int64) for number in numbers]
            ids, mask = filled(rows, self._windows.pad_id, LEAST), filled([np.ones_like(row) for row in rows], 0, LEAST)
            logits = np.asarray(self._predict({IDS: ids, MASK: mask}))
            for number, row, values in zip(numbers, rows, logits, strict=True):
                found[number] = told(values[: len(row)], pairs[number][1])
        return found

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of rows of equal length, so many that their logits can be held."""
        order = sorted((length, number) for number, length in enumerate(lengths))
        batch: list[int] = []
        for length, number in order:
            room = max(1, HELD_BYTES // (4 * self._vocabulary * max(LEAST, length)))
            if batch and (lengths[batch[0]] != length or len(batch) >= room):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch


def told(logits: NDArray[Any], tokens: Sequence[int]) -> tuple[float, bool]:
    """Nats (negative) of tokens that follow the last places of logits [T, vocabulary], and whether each is the likeliest."""
    if not tokens:
        return 0.0, True
    last = logits[-len(tokens) :].astype(np.float64)
    asked = np.asarray(tokens[-len(last) :])
    highest = last.max(axis=1)
    nats = last[np.arange(len(asked)), asked] - highest - np.log(np.exp(last - highest[:, None]).sum(axis=1))
    return float(nats.sum()), bool((last.argmax(axis=1) == asked).all())


def evaluated(model: HarnessModel, tasks: Iterable[TaskFile], *, limit: int | None, seed: int) -> dict[str, Any]:
    """What the harness makes of a model: `results` and `samples` by task, as `lm_eval.simple_evaluate` gives them.

    Raises:
        InputError: a task's files or settings are not what the harness takes.
    """
    with told_as(lambda reason: InputError(f"harness: lm-evaluation-harness does not take the tasks: {reason}")):
        found: dict[str, Any] = simple_evaluate(
            model=model,
            tasks=[{**task.settings, "custom_dataset": _dataset(task)} for task in tasks],
            limit=limit,
            bootstrap_iters=0,
            task_manager=TaskManager(include_defaults=False),
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    return found


def _dataset(task: TaskFile) -> Callable[..., dict[str, Any]]:
    """What the harness calls for a task's splits."""

    def splits(**_settings: Any) -> dict[str, Any]:
        return {split: datasets.Dataset.from_list(read_split(task, split)) for split in task.files}

    return splits
