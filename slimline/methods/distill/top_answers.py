"""What is kept of a language model's answers: the likeliest tokens of each place, and the rest of the probability as one.

A vocabulary of 49,152 tokens is 192 KiB of logits at each place; 64 tokens with their probabilities are 384 bytes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.objectives.causal_lm import tokens_of
from slimline.objectives.readings import IGNORED
from slimline.objectives.single import single

LOG_PROBABILITIES, TOKENS = "log_probabilities", "tokens"
PLACES = 512
"""Places whose distributions are made at a time."""
TINY = 1e-6


def top_answers(outputs: Tensors, temperature: float, top_k: int) -> dict[str, Tensor]:
    """Logits [N, tokens, vocabulary], softened -> the `top_k` largest log-probabilities, float16 [N, tokens, k], and whose they are."""
    logits = single(outputs)
    rows = logits.reshape(-1, logits.shape[-1])
    parts = [(part.float() / temperature).log_softmax(1).topk(min(top_k, rows.shape[1]), dim=1) for part in torch.split(rows, PLACES)]
    values, tokens = (torch.cat(found).view(*logits.shape[:-1], -1) for found in zip(*parts, strict=True))
    return {LOG_PROBABILITIES: values.half(), TOKENS: tokens.int()}


def top_divergence(outputs: Tensors, kept: Tensors, targets: Tensors, temperature: float) -> Tensor:
    """KL divergence of the teacher's softened distribution from the student's, times the temperature squared, a place that is asked for;
    0 where none is.

    The tokens that were not kept count as one in both.
    """
    assert not isinstance(kept, Tensor)
    asked = tokens_of(targets) != IGNORED
    student = (single(outputs)[asked].float() / temperature).log_softmax(1).gather(1, kept[TOKENS][asked].long())
    teacher = kept[LOG_PROBABILITIES][asked].float()
    rests = [(1 - found.exp().sum(1, keepdim=True)).clamp(min=TINY).log() for found in (teacher, student)]
    old, new = torch.cat([teacher, rests[0]], 1), torch.cat([student, rests[1]], 1)
    return functional.kl_div(new, old, reduction="sum", log_target=True) / max(1, len(new)) * temperature**2
