"""The next token of a text: bits per byte, perplexity, and how far a model's distribution is from the baseline's, by document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.objectives import Metric, Objective, Scores
from slimline.objectives.columns import divided, ratio, smooth
from slimline.objectives.readings import IGNORED, NextTokens
from slimline.objectives.single import arrays, single

TOKENS, BYTES, DOCUMENT = "tokens", "bytes", "document"
"""The targets: the token after each place, or IGNORED [N, tokens]; how many bytes those asked for are [N]; whose they are [N]."""
SAME_TOKENS = 0.9
"""Two models answer a window alike where so many of its places get the same token."""
TOGETHER = 256
"""Places whose logits are widened to float64 at a time."""


def _perplexity(scores: Scores, counts: NDArray[Any]) -> NDArray[Any]:
    nats, tokens = (counts @ scores[name].astype(np.float64) for name in ("nats", "tokens"))
    found: NDArray[Any] = np.exp(divided(nats, tokens))
    return found


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "bits_per_byte": ratio("bits", "bytes", "bits/byte", "lower"),
        "perplexity": smooth(_perplexity, "", "lower"),
        "next_token_accuracy": ratio("correct", "tokens"),
        "next_token_agreement": ratio("agreeing", "tokens"),
        "kl_divergence": ratio("kl", "tokens", "nats/token", "lower"),
    }
)


@dataclass(frozen=True)
class CausalLM(Objective):
    """Outputs are logits [N, tokens, vocabulary]; targets TOKENS, BYTES and DOCUMENT. Implements slimline.objectives.Objective.

    Windows of one document are resampled as one. Agreement and KL divergence are against the baseline for the same windows. A place
    whose logits are all 0 is filled up and counts nowhere.
    """

    name: str = "causal_lm"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS, repr=False, compare=False)

    @property
    def reading(self) -> NextTokens:
        """How outputs are read without torch."""
        return NextTokens()

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Nats a token, mean over the batch; 0 where none is asked for."""
        logits, wanted = single(outputs), tokens_of(targets)
        whole = functional.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED, reduction="sum")
        return whole / (wanted != IGNORED).sum().clamp(min=1)

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:
        """KL divergence of the teacher's distribution from the student's, both softened, times the temperature squared, a token.

        Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
        """
        there = _there(single(teacher_outputs))
        student, teacher = (functional.log_softmax(single(given)[there].float() / temperature, 1) for given in (outputs, teacher_outputs))
        return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `nats`, `bits`, `correct`, `tokens`, `bytes`, `error` (bits a byte) and `cluster` (the document), of each window [N].

        Those of `beside` are there too, as beside itself.
        """
        logits, wanted = single(outputs), tokens_of(targets)
        asked = wanted != IGNORED
        nats = torch.stack([_nats(row, tokens) for row, tokens in zip(logits, wanted, strict=True)])
        correct = ((logits.argmax(2) == wanted) & asked).sum(1)
        sizes = _part(targets, BYTES).double()
        bits = nats / np.log(2)
        found = {"nats": nats, "bits": bits, "correct": correct, "tokens": asked.sum(1), "bytes": sizes, "error": bits / sizes.clamp(min=1)}
        found |= {"agreeing": found["tokens"], "kl": torch.zeros_like(nats), "cluster": _part(targets, DOCUMENT)}
        return {name: value.cpu().numpy() for name, value in found.items()}

    def beside(self, outputs: Tensors, baseline: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Columns `agreeing` (places with the baseline's token) and `kl` (nats, from the baseline's distribution) of each window [N]."""
        own, theirs, asked = single(outputs), single(baseline), tokens_of(targets) != IGNORED
        agreeing = ((own.argmax(2) == theirs.argmax(2)) & asked).sum(1)
        kl = torch.stack([_kl(theirs[row][there], own[row][there]) for row, there in enumerate(asked)])
        return {"agreeing": agreeing.cpu().numpy(), "kl": kl.cpu().numpy()}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """The likeliest next token at each place [N, tokens]."""
        return self.reading.answers(arrays(outputs))

    def shown(self, answer: Any) -> str:
        """The first tokens by their numbers."""
        return self.reading.shown(answer)

    def distance(self, before: Tensors, after: Tensors) -> float:
        """The root of the mean KL divergence a place, nats: for small changes it grows as they do, as other objectives' distances."""
        rows = zip(single(before), single(after), _there(single(before)), strict=True)
        means = [float(_kl(old[there], new[there])) / int(there.sum()) for old, new, there in rows if there.any()]
        return float(np.sqrt(np.mean(means))) if means else 0.0

    def same_answers(self, before: Tensors, after: Tensors) -> NDArray[Any]:
        """Which windows get the same tokens at nearly all places, bool [N]."""
        there = _there(single(before))
        same = (single(before).argmax(2) == single(after).argmax(2)) & there
        found: NDArray[Any] = (same.sum(1) >= SAME_TOKENS * there.sum(1)).numpy()
        return found

    def constant(self, targets: Tensors, outputs: Tensors) -> Tensor:
        """The frequencies of tokens, whatever came before them."""
        wanted, logits = tokens_of(targets), single(outputs)
        counts = torch.bincount(wanted[wanted != IGNORED], minlength=logits.shape[2]).double() + 0.5
        return (counts / counts.sum()).log().float().expand_as(logits)

    def outputs_breach(self, outputs: Tensors) -> str:
        """Logits have three axes."""
        shape = list(single(outputs).shape)
        return "" if len(shape) == 3 else f"outputs are {shape}, must be logits [N, tokens, vocabulary]"


def causal_lm() -> CausalLM:
    """Text whose every next token is told from what stands before it."""
    return CausalLM()


def tokens_of(targets: Tensors) -> Tensor:
    """The token asked for at each place [N, tokens]."""
    return targets if isinstance(targets, Tensor) else targets[TOKENS]


def _there(logits: Tensor) -> Tensor:
    """The places that are not filled up, bool [N, tokens]: the logits of others are 0, whatever computes them."""
    return (logits != 0).any(2)


def _part(targets: Tensors, name: str) -> Tensor:
    assert not isinstance(targets, Tensor)
    return targets[name]


def _nats(logits: Tensor, wanted: Tensor) -> Tensor:
    """The sum over a window [tokens, vocabulary], float64."""
    parts = zip(torch.split(logits, TOGETHER), torch.split(wanted, TOGETHER), strict=True)
    return sum(
        (functional.cross_entropy(rows.double(), asked, ignore_index=IGNORED, reduction="sum") for rows, asked in parts),
        start=torch.zeros((), dtype=torch.float64),
    )


def _kl(before: Tensor, after: Tensor) -> Tensor:
    """The sum over places [tokens, vocabulary] of the KL divergence of `after` from `before`, float64; never below 0."""
    total = torch.zeros((), dtype=torch.float64)
    for one, other in zip(torch.split(before, TOGETHER), torch.split(after, TOGETHER), strict=True):
        old, new = one.double().log_softmax(1), other.double().log_softmax(1)
        total = total + (old.exp() * (old - new)).sum()
    return total.clamp(min=0)
