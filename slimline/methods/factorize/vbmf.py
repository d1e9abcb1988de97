"""The rank of a noisy matrix by empirical variational Bayesian matrix factorization, in closed form.

Nakajima et al. 2013, "Global analytic solution of fully-observed variational Bayesian matrix factorization" (JMLR 14). Kim et al. 2015
(arXiv:1511.06530) choose the ranks of convolutions by it. No library that is kept has it.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float64]
ASYMPTOTIC = 2.5129
"""The paper's fit of its threshold: tau = 2.5129 sqrt(alpha)."""
LEAST = 1e-12
"""The least noise, relative to the largest singular value: a matrix of exact low rank has none."""


def vbmf_rank(matrix: Tensor) -> int:
    """How many singular values of a matrix stand out of noise, the noise's variance being estimated too; 0 where none does."""
    short, long = sorted(matrix.shape)
    values = np.linalg.svd(matrix.detach().double().numpy(), compute_uv=False)
    if values[0] == 0:
        return 0
    values = np.maximum(values / values[0], LEAST)
    alpha = short / long
    tau = ASYMPTOTIC * np.sqrt(alpha)
    bound = (1 + tau) * (1 + alpha / tau)
    variance = _noise_variance(values, short, long, bound)
    return int((values > np.sqrt(long * variance * bound)).sum())


def _noise_variance(values: Values, short: int, long: int, bound: float) -> float:
    """The variance of least free energy, between the bounds that the paper gives."""
    alpha, squared = short / long, values**2
    most = max(0, min(int(np.ceil(short / (1 + alpha))) - 1, len(values)) - 1)
    rest = squared[min(most + 1, len(values) - 1) :]
    lower, upper = max(rest[0] / (long * bound), rest.mean() / long), squared.sum() / (short * long)
    if lower >= upper:
        return float(upper)
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(_free_energy, bounds=(lower, upper), args=(squared, short, long, bound), method="bounded")
    return float(found.x)


def _free_energy(variance: float, squared: Values, short: int, long: int, bound: float) -> float:
    """Up to a constant, of all components at once."""
    alpha, scaled = short / long, squared / (long * variance)
    noise, signal = scaled[scaled <= bound], scaled[scaled > bound]
    tau = 0.5 * (signal - (1 + alpha) + np.sqrt((signal - (1 + alpha)) ** 2 - 4 * alpha))
    kept = np.sum(signal - tau) + np.sum(np.log((tau + 1) / signal)) + alpha * np.sum(np.log(tau / alpha + 1))
    return float(np.sum(noise - np.log(noise)) + kept + (short - len(squared)) * np.log(variance))
