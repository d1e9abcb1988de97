"""Which ranks a layer's chain gets: by rank, energy, parameter ratio or VBMF; a budget over the whole model is in budget.py."""

import itertools
from collections.abc import Iterable, Iterator

from slimline.methods.factorize.decomposition import Decomposition, Ranks
from slimline.methods.factorize.vbmf import vbmf_rank
from slimline.params.factorize import LowRankParams

FINEST = 32
"""Where there are two ranks, at most so many values of each are tried."""
ROUNDING = 1e-12


def chosen_ranks(decomposition: Decomposition, config: LowRankParams) -> Ranks | None:
    """The ranks that the config asks for; None where a chain of such ranks has no fewer weights than the layer.

    Multiples of `round_to` are tried first and, where none of them saves, all others.
    """
    if config.rank is not None:
        ranks = tuple(min(config.rank, limit) for limit in decomposition.limits)
        return ranks if decomposition.saves(ranks) else None
    if config.vbmf:
        return _by_vbmf(decomposition, config.round_to)
    for step in (config.round_to, 1):
        candidates = ladder(decomposition, step, sparse=decomposition.scheme.costly and config.energy is not None)
        found = _by_energy(decomposition, candidates, config.energy) if config.energy else _by_size(decomposition, candidates, config)
        if found is not None:
            return found
    return None


def ladder(decomposition: Decomposition, step: int, *, sparse: bool = False) -> tuple[Ranks, ...]:
    """The ranks to try that make the layer smaller, the smallest chain first: multiples of `step`.

    Sparse ones are its doublings, up to half of the layer's weights: the highest ranks take the longest to fit, and save least.
    Of two ranks, one above the other times the kernel's positions has nothing to add.
    """
    limits = decomposition.limits
    choices: list[Iterable[int]]
    if sparse:
        choices = [_doublings(step, limit) for limit in limits]
    elif len(limits) == 1:
        choices = [range(step, limit + 1, step) for limit in limits]
    else:
        choices = [_with_limit(max(step, limit // FINEST if step == 1 else step), limit) for limit in limits]
    kernel = decomposition.layer.weight[0, 0].numel()
    useful = (ranks for ranks in itertools.product(*choices) if max(ranks) <= min(ranks) * kernel or len(ranks) == 1)
    sized = ((sum(decomposition.sizes(ranks)), ranks) for ranks in useful)
    most = decomposition.layer.weight.numel() // (2 if sparse else 1)
    return tuple(ranks for size, ranks in sorted(sized) if size < most)


def _by_energy(decomposition: Decomposition, candidates: tuple[Ranks, ...], energy: float) -> Ranks | None:
    return next((ranks for ranks in candidates if decomposition.fit.lost(ranks) <= 1 - energy + ROUNDING), None)


def _by_size(decomposition: Decomposition, candidates: tuple[Ranks, ...], config: LowRankParams) -> Ranks | None:
    most = (config.parameter_ratio or 0.0) * decomposition.layer.weight.numel()
    allowed = [ranks for ranks in candidates if sum(decomposition.sizes(ranks)) <= most]
    if not allowed:
        return None
    return allowed[-1] if len(decomposition.limits) == 1 else min(allowed, key=decomposition.fit.lost)


def _by_vbmf(decomposition: Decomposition, step: int) -> Ranks | None:
    """None also where nothing of an unfolding stands out of noise: that a layer is small does not make it noise."""
    exact = tuple(vbmf_rank(matrix) for matrix in decomposition.fit.unfoldings)
    if 0 in exact:
        return None
    rounded = tuple(min(-(-rank // step) * step, limit) for rank, limit in zip(exact, decomposition.limits, strict=True))
    return next((ranks for ranks in (rounded, exact) if decomposition.saves(ranks)), None)


def _doublings(step: int, limit: int) -> Iterator[int]:
    return itertools.takewhile(lambda rank: rank <= limit, (step * 2**power for power in itertools.count()))


def _with_limit(step: int, limit: int) -> tuple[int, ...]:
    return (*range(step, limit, step), limit)
