"""The next token of its logits: the likeliest, or one drawn."""

import numpy as np
from numpy.typing import NDArray

from slimline.generation import Sampling


def chosen(logits: NDArray[np.float32], sampling: Sampling, draws: np.random.Generator) -> int:
    """One token of logits [vocabulary].

    Where the sampling is not greedy it is drawn from the smallest set of tokens whose probabilities reach `top_p`.
    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", arXiv:1904.09751.
    """
    if sampling.is_greedy:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / sampling.temperature
    odds = np.exp(scaled - scaled.max())
    odds /= odds.sum()
    if sampling.top_p < 1:
        order = np.argsort(-odds, kind="stable")
        beyond = order[np.searchsorted(np.cumsum(odds[order]), sampling.top_p) + 1 :]
        odds[beyond] = 0.0
        odds /= odds.sum()
    return int(draws.choice(len(odds), p=odds))
