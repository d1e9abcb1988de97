"""Replace a k x k convolution by a k x 1 and a 1 x k one, from a singular value decomposition.

Jaderberg et al. 2014, "Speeding up convolutional neural networks with low rank expansions" (arXiv 1405.3866), scheme 2, in its closed
form: the weight [outputs, inputs, k, k] as a matrix of (output, column) by (input, row). Activation-aware, the error is that of the
products with the vertical patches of the input, each column of the kernel by itself.
"""

from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.factorize.chains import factorized
from slimline.methods.factorize.decomposition import Fit, Layer, Ranks, Scheme, along
from slimline.methods.factorize.svd import MATRIX, matrix_fit
from slimline.methods.factorize.whitening import Whitening
from slimline.params.factorize import SpatialSvdParams


def spatial_svd(model: nn.Module, config: SpatialSvdParams, *, data: MethodData) -> Edited:
    """Return a copy whose k x k convolutions are pairs, vertical and horizontal, wherever a pair has fewer parameters.

    Grouped convolutions stay. With `include_linear`, Linear layers and 1x1 convolutions become pairs by svd.

    Raises:
        StageError: no layer gets smaller, or the budget is out of reach.
    """
    return factorized(model, config, data, (SPATIAL, MATRIX) if config.include_linear else (SPATIAL,))


def _takes(layer: Layer) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and min(layer.kernel_size) > 1


def _limits(layer: Layer) -> Ranks:
    outputs, inputs, rows, columns = layer.weight.shape
    return (min(outputs * columns, inputs * rows),)


def _thin(layer: Layer, ranks: Ranks) -> nn.Sequential:
    assert isinstance(layer, nn.Conv2d)
    vertical = along(layer, (0,), layer.in_channels, ranks[0])
    return nn.Sequential(vertical, along(layer, (1,), ranks[0], layer.out_channels, bias=layer.bias is not None))


def _fit(layer: Layer, whitening: Whitening, _seed: int) -> Fit:
    weight = layer.weight.detach().double()
    outputs, inputs, rows, columns = weight.shape
    flat = matrix_fit(weight.permute(0, 3, 1, 2).reshape(outputs * columns, inputs * rows), whitening)

    def weights(ranks: Ranks) -> tuple[Tensor, ...]:
        vertical, horizontal = flat.weights(ranks)
        return vertical, horizontal.reshape(outputs, columns, ranks[0]).movedim(1, 2)

    return Fit(flat.lost, weights, flat.unfoldings)


SPATIAL = Scheme(takes=_takes, limits=_limits, thin=_thin, fit=_fit)
