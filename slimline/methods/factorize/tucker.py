"""Replace a convolution by a 1x1, a k x k and a 1x1 one: Tucker's decomposition over its output and input channels.

Kim et al. 2015, "Compression of deep convolutional neural networks for fast and low power mobile applications" (arXiv 1511.06530), by
TensorLy's higher-order orthogonal iteration. What each pair of ranks loses is read off the higher-order SVD (De Lathauwer et al. 2000),
an upper bound of what the iteration loses. Activation-aware, the input channels are whitened by their second moment.
"""

import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.factorize.chains import factorized
from slimline.methods.factorize.decomposition import Fit, Layer, Ranks, Scheme, along, pointwise
from slimline.methods.factorize.svd import MATRIX
from slimline.methods.factorize.whitening import Whitening
from slimline.params.factorize import TuckerParams

ITERATIONS = 20


def tucker(model: nn.Module, config: TuckerParams, *, data: MethodData) -> Edited:
    """Return a copy whose convolutions are chains of three, wherever a chain has fewer parameters.

    Grouped convolutions stay. With `include_linear`, Linear layers and 1x1 convolutions become pairs by svd.

    Raises:
        StageError: no layer gets smaller, or the budget is out of reach.
    """
    return factorized(model, config, data, (TUCKER, MATRIX) if config.include_linear else (TUCKER,))


def has_wide_kernel(layer: Layer) -> bool:
    """Whether a layer is a convolution, without groups, of a kernel that is not 1x1."""
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1 and max(layer.kernel_size) > 1


def whitened_channels(layer: Layer, whitening: Whitening) -> Tensor:
    """The weight [outputs, inputs, …], float64, with its input channels whitened."""
    return whitening.times(layer.weight.detach().double().movedim(1, -1)).movedim(-1, 1)


def _limits(layer: Layer) -> Ranks:
    weight = layer.weight
    kernel = weight[0, 0].numel()
    outputs, inputs = weight.shape[:2]
    return min(outputs, inputs * kernel), min(inputs, outputs * kernel)


def _thin(layer: Layer, ranks: Ranks) -> nn.Sequential:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    outputs, inputs = ranks
    every = tuple(range(len(layer.kernel_size)))
    return nn.Sequential(
        pointwise(layer, layer.in_channels, inputs),
        along(layer, every, inputs, outputs),
        pointwise(layer, outputs, layer.out_channels, bias=layer.bias is not None),
    )


def _fit(layer: Layer, whitening: Whitening, _seed: int) -> Fit:
    weight = whitened_channels(layer, whitening)
    kept = _kept_energy(weight)

    def weights(ranks: Ranks) -> tuple[Tensor, ...]:
        (core, (left, right)), _ = partial_tucker(weight.numpy(), rank=list(ranks), modes=[0, 1], n_iter_max=ITERATIONS)
        first, middle, last = (torch.from_numpy(array.copy()) for array in (right.T, core, left))
        return whitening.undone(first), middle, last

    raw = layer.weight.detach().double()
    return Fit(lambda ranks: max(0.0, 1 - float(kept[ranks[0] - 1, ranks[1] - 1])), weights, (raw.flatten(1), raw.movedim(1, 0).flatten(1)))


def _kept_energy(weight: Tensor) -> Tensor:
    """The share of the energy that the higher-order SVD keeps at every pair of ranks, [output rank - 1, input rank - 1]."""
    left = torch.linalg.svd(weight.flatten(1), full_matrices=False)[0]
    right = torch.linalg.svd(weight.movedim(1, 0).flatten(1), full_matrices=False)[0]
    core = torch.einsum("oi...,or,is->rs...", weight, left, right)
    energy = core.flatten(2).square().sum(2).cumsum(0).cumsum(1)
    return energy / energy[-1, -1].clamp_min(torch.finfo(energy.dtype).tiny)


TUCKER = Scheme(takes=has_wide_kernel, limits=_limits, thin=_thin, fit=_fit)
