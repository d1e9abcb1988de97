"""Replace a convolution by a 1x1, depthwise ones along each axis, and a 1x1: the canonical polyadic (CP) decomposition of its weight.

Lebedev et al. 2014, "Speeding-up convolutional neural networks using fine-tuned CP-decomposition" (arXiv 1412.6553), by TensorLy's
alternating least squares. Activation-aware, the input channels are whitened by their second moment.
"""

import functools

import numpy as np
import torch
from tensorly.cp_tensor import CPTensor, cp_to_tensor
from tensorly.decomposition import parafac
from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.factorize.chains import factorized
from slimline.methods.factorize.decomposition import Fit, Layer, Ranks, Scheme, along, pointwise
from slimline.methods.factorize.svd import MATRIX
from slimline.methods.factorize.tucker import has_wide_kernel, whitened_channels
from slimline.methods.factorize.whitening import Whitening
from slimline.params.factorize import CpParams

ITERATIONS = 50
TOLERANCE = 1e-5
DAMPING = 1e-6
"""Added to the least squares, the tensor's norm being 1: components that cancel each other would grow without end."""


def cp(model: nn.Module, config: CpParams, *, data: MethodData) -> Edited:
    """Return a copy whose convolutions are chains of four (of three for one axis), wherever a chain has fewer parameters.

    Grouped convolutions stay. With `include_linear`, Linear layers and 1x1 convolutions become pairs by svd.

    Raises:
        StageError: no layer gets smaller, or the budget is out of reach.
    """
    return factorized(model, config, data, (CP, MATRIX) if config.include_linear else (CP,))


def _limits(layer: Layer) -> Ranks:
    """The highest rank that could save anything: that of an exact decomposition is not known (it is NP-hard to find)."""
    return (max(1, layer.weight.numel() // sum(layer.weight.shape)),)


def _thin(layer: Layer, ranks: Ranks) -> nn.Sequential:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    (rank,) = ranks
    axes = [along(layer, (axis,), rank, rank, groups=rank) for axis in range(len(layer.kernel_size))]
    last = pointwise(layer, rank, layer.out_channels, bias=layer.bias is not None)
    return nn.Sequential(pointwise(layer, layer.in_channels, rank), *axes, last)


def _fit(layer: Layer, whitening: Whitening, seed: int) -> Fit:
    weight = whitened_channels(layer, whitening)
    norm = weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)

    @functools.cache
    def factors(rank: int) -> tuple[Tensor, ...]:
        start = _start(weight / norm, rank, seed)
        found = parafac((weight / norm).numpy(), rank, init=start, n_iter_max=ITERATIONS, tol=TOLERANCE, l2_reg=DAMPING)
        return _balanced([torch.from_numpy(factor.copy()) for factor in found.factors], float(norm))

    def lost(ranks: Ranks) -> float:
        product = torch.from_numpy(cp_to_tensor((None, [factor.numpy() for factor in factors(ranks[0])])))
        return float(((weight - product).norm() / norm).square())

    def weights(ranks: Ranks) -> tuple[Tensor, ...]:
        outputs, inputs, *axes = factors(ranks[0])
        return whitening.undone(inputs.T), *(axis.T for axis in axes), outputs

    return Fit(lost, weights, ())


def _start(weight: Tensor, rank: int, seed: int) -> CPTensor:
    """Each axis' singular vectors, as many as there are, and random ones, the first axis scaled by its singular values."""
    generator = torch.Generator().manual_seed(seed)
    factors = []
    for axis in range(weight.ndim):
        left, values, _ = torch.linalg.svd(weight.movedim(axis, 0).flatten(1), full_matrices=False)
        found = (left if axis else left * values)[:, :rank]
        more = torch.rand(len(weight.movedim(axis, 0)), rank - found.shape[1], generator=generator, dtype=weight.dtype)
        factors.append(torch.cat((found, more), dim=1).numpy())
    return CPTensor((np.ones(rank), factors))


def _balanced(factors: list[Tensor], norm: float) -> tuple[Tensor, ...]:
    """The factors [size, rank] with each component's norm spread evenly over them."""
    norms = torch.stack([factor.norm(dim=0).clamp_min(torch.finfo(factor.dtype).tiny) for factor in factors])
    even = (norms.log().mean(0)).exp() * norm ** (1 / len(factors))
    return tuple(factor / own * even for factor, own in zip(factors, norms, strict=True))


CP = Scheme(takes=has_wide_kernel, limits=_limits, thin=_thin, fit=_fit, costly=True)
