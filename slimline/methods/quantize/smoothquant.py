"""SmoothQuant: outliers of a layer's inputs are moved into its weights before both are rounded to int8."""

import dataclasses

from torch import nn

from slimline.methods.data import MethodData
from slimline.methods.quantize.dynamic import dynamic
from slimline.methods.quantize.per_token import per_token
from slimline.methods.quantize.plan import float_reasons
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.smoothing import smoothed
from slimline.methods.quantize.static import calibrated, with_corrected_biases
from slimline.params.quantize import DynamicParams, SmoothquantParams
from slimline.training.records import Records


def smoothquant(
    model: nn.Module,
    config: SmoothquantParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData,
) -> Quantized:
    """Int8 weights and inputs, ranged by calibration or while running, of a model whose layers' inputs are smoothed first.

    Each input's scale is max|x|^strength / max|w|^(1 - strength), folded into the norm or layer that makes it, where scaling that leaves
    the block's outputs as they are; elsewhere there is none, and the notes say where. With ranges for each token it is applied while
    running instead (see per_token.py). Xiao et al. 2022, arXiv:2211.10438.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: torch.export cannot follow the model, where batch norms are to be folded.
    """
    if config.ranges == "per-token":
        return per_token(model, config, data=data)
    kept = float_reasons(model, config.keep_float, None)
    smooth, notes = smoothed(model, config.strength, data, kept)
    if config.ranges == "dynamic":
        told = {name: getattr(config, name) for name in ("source", "keep_float", "embeddings", "rest")}
        plain = DynamicParams(method="dynamic", **told)
        made = dynamic(smooth, plain, data=data)
    else:
        made = calibrated(smooth, config, statistics=data.collect(smooth), data=data)
        made = with_corrected_biases(made, config, data=data)
    return dataclasses.replace(made, plan={**made.plan, "method": "smoothquant"}, notes=(*notes, *made.notes))
