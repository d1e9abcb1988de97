"""HQQ, half-quadratic quantization: int4 or int8 weights whose zero points are fitted to the weights, without data."""

import copy

import torch
from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.quantize.plan import weighted_layers
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.weight_only import asymmetric_grid, grouped, integer_plan, named_grid, weight_entries
from slimline.methods.quantize.weights import LEVEL_COUNT, Grid
from slimline.params import HqqParams
from slimline.training.records import Records


def hqq(
    model: nn.Module,
    config: HqqParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData | None = None,
) -> Quantized:
    """Plan group-wise asymmetric weights for every Linear and convolution, but those in keep_float, with fitted zero points.

    The zero points stay fractional: rounded to whole levels they would give the error of rounding to nearest again. So each
    target has to lower them as float32 (see onnx_integers.py, openvino_integers.py).
    Badri & Shaji 2023, https://mobiusml.github.io/hqq_blog/

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    entries = weight_entries(model, config, data, granularity="per-group", symmetric=False)
    grids: dict[str, Tensor] = {}
    for name, layer in weighted_layers(model).items():
        if entries[name]["stored_grid"]:
            groups = grouped(layer.weight.detach(), entries[name])
            start = asymmetric_grid(groups, entries[name], whole_zero_points=False)
            grids |= named_grid(name, fit_zero_points(groups, start, LEVEL_COUNT[entries[name]["precision"]] - 1, config))
    return Quantized(copy.deepcopy(model).eval(), integer_plan("hqq", entries, config), grids=grids)


def fit_zero_points(groups: Tensor, start: Grid, largest: int, config: HqqParams) -> Grid:
    """The grid of weights [outputs, groups, values] whose zero points make the error in the lp norm (p < 1) least.

    p < 1 lets a few outliers be wrong so that the many are right. Minimised by half-quadratic splitting, two steps in turn: the
    errors that count as outliers are set apart (`shrink`), and the zero point of each group becomes the mean of what the others
    ask for; `beta`, the price of an outlier, grows by `kappa` each time. Of all iterations each group keeps the zero point with
    its least error, the start included. Levels lie in 0…`largest`. Unlike in the authors' code, errors are measured in levels:
    in weights, about 0.003, each would count as none, whatever the layer's outliers.
    """
    scale, zero_point = start[0].unsqueeze(-1), (torch.zeros_like(start[0]) if start[1] is None else start[1]).unsqueeze(-1)
    scaled, beta, best, least = groups / scale, config.beta, zero_point, torch.full_like(zero_point, torch.inf)
    for _ in range(config.iterations + 1):
        levels = (scaled + zero_point).round().clamp(0, largest)
        error = scaled - (levels - zero_point)
        size = error.abs().pow(config.p).mean(dim=-1, keepdim=True)
        best, least = torch.where(size < least, zero_point, best), torch.minimum(size, least)
        zero_point = (levels - scaled + shrink(error, beta, config.p)).mean(dim=-1, keepdim=True)
        beta *= config.kappa
    return start[0], best.squeeze(-1).contiguous()


def shrink(error: Tensor, beta: float, p: float) -> Tensor:
    """The generalised soft threshold: sign(e) max(|e| - |e|^(p - 1) / beta, 0), which leaves outliers and sets the rest to 0.

    Badri & Yahia 2016, "A non-local low-rank approach to enforce integrability": the proximal operator of |x|^p.
    """
    size = error.abs()
    return error.sign() * (size - size.clamp(min=torch.finfo(error.dtype).tiny).pow(p - 1) / beta).clamp(min=0)
