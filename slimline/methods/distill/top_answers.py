"""What is kept of a language model's answers: the likeliest tokens of each place, and the rest of the probability as one.

A vocabulary of 49,152 tokens is 192 KiB of logits at each place; 64 tokens with their probabilities are 384 bytes. What is kept before a
temperature is known has a sum for each of TEMPERATURES beside them: log softmax(z / T) = log p / T - log sum(exp(log p / T)).
"""

import torch
from torch import Tensor
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.objectives.causal_lm import tokens_of
from slimline.objectives.readings import IGNORED
from slimline.objectives.single import single

LOG_PROBABILITIES, TOKENS, LOG_SUMS = "log_probabilities", "tokens", "log_sums"
KEPT = 64
"""So many tokens are kept where no training says how many."""
TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""What such answers can be softened by."""
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


def answers_for_any(outputs: Tensors) -> dict[str, Tensor]:
    """Logits [N, tokens, vocabulary] -> the same as `top_answers` of KEPT tokens, not softened, and log sums, float32 [N, tokens, |T|]."""
    logits = single(outputs)
    sums = [_log_sums(part.float().log_softmax(1)) for part in torch.split(logits.reshape(-1, logits.shape[-1]), PLACES)]
    return {**top_answers(outputs, 1.0, KEPT), LOG_SUMS: torch.cat(sums).view(*logits.shape[:-1], -1)}


def softened(known: Tensors, temperature: float, top_k: int) -> dict[str, Tensor] | None:
    """What `top_answers` gives, of what `answers_for_any` gave; None for other temperatures, and for more tokens than are kept."""
    assert not isinstance(known, Tensor)
    kept, vocabulary_is_whole = known[TOKENS].shape[-1], known[TOKENS].shape[-1] < KEPT
    if temperature not in TEMPERATURES or (top_k > kept and not vocabulary_is_whole):
        return None
    sums = known[LOG_SUMS][..., TEMPERATURES.index(temperature), None]
    values = known[LOG_PROBABILITIES][..., :top_k].float() / temperature - sums
    return {LOG_PROBABILITIES: values.half(), TOKENS: known[TOKENS][..., :top_k]}


def _log_sums(log_probabilities: Tensor) -> Tensor:
    return torch.stack([(log_probabilities / temperature).logsumexp(1) for temperature in TEMPERATURES], dim=1)


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
