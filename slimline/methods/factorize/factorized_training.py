"""Factorize a net before it is trained, and train the thin layers from scratch; the dense net on the same budget is the control.

Spectral initialisation and Frobenius decay: Khodak et al. 2021, "Initialization and regularization of factorized neural layers",
arXiv:2105.01029. A k x k convolution becomes a k x k one to `rank` channels and a 1x1, as in Pufferfish (Wang et al. 2021,
arXiv:2103.03936).
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch
from slimline.data.samples import in_order
from slimline.errors import Impossible
from slimline.methods.data import MethodData
from slimline.methods.edited import Curve, Edited, Listing
from slimline.methods.factorize.chains import input_shapes, layers, read_elsewhere, why_whole
from slimline.methods.factorize.decomposition import Layer, chain, decomposed, replaced
from slimline.methods.factorize.svd import CHANNELS
from slimline.methods.factorize.whitening import NOT_WHITENED
from slimline.methods.name_patterns import matching
from slimline.methods.recalibrate import recalibrated_over
from slimline.params import FactorizedTrainingParams
from slimline.training.fit import BATCH_SIZE, predict, require_learned
from slimline.training.history import FitHistory

BEFORE, DENSE, AFTER = "factorized before training", "dense, the same budget", "that dense net, factorized after training"
COLUMNS = ("net", "parameters", "best epoch", "validation loss", "validation metric")
NOTE = "All from the same untrained weights, in the same order of samples; the last one has the ranks of the first, and no training after."


def factorized_training(model: nn.Module, config: FactorizedTrainingParams, *, data: MethodData) -> Edited:
    """Return the untrained source as pairs of thin layers, trained, and how that compares with training it dense.

    Linear layers and convolutions without groups become pairs wherever a pair has fewer weights, but for those that `svd` would leave
    alone too (`why_whole`), nn.MultiheadAttention's for one; each pair starts as the best
    approximation of the layer's untrained weight, its singular values shared evenly. `model` gives no weights to the result: it
    comes from `data.initial()`. Zero epochs return a copy of `model`. A layer that the model uses under two names stays one.

    Raises:
        InputError: keep names a layer that does not exist.
        StageError: no layer gets smaller, or the untrained source is not known.
        Diverged: the training never got better than where it began.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    if data.initial is None:
        raise Impossible("factorize: factorized_training needs the source's untrained weights, which this stage does not have")
    initial = data.initial()
    names = chosen(initial, config, data.example)
    thin, history = data.fitted(factorized(initial, names), config, penalty=frobenius_decay(names, config.frobenius_decay))
    require_learned(history, config)
    dense, control = data.fitted(initial, config)
    cut = recalibrated_over(factorized(dense, names), data.train)
    rows = (_row(BEFORE, thin, history, data), _row(DENSE, dense, control, data), _row(AFTER, cut, None, data))
    return Edited(
        thin,
        history,
        curves=(_curve(history, control),),
        listings=(Listing("Beside its controls", COLUMNS, rows, NOTE),),
        details={"factorized_layers": len(names), "controls": [dict(zip(COLUMNS, row, strict=True)) for row in rows]},
    )


def chosen(model: nn.Module, config: FactorizedTrainingParams, example: Batch) -> dict[str, int]:
    """Layer -> its rank, for each that gets smaller and that nothing else keeps whole (`why_whole`).

    Raises:
        InputError: keep names a layer that does not exist.
        StageError: there is none.
    """
    found, shapes = {name: layer for name, layer in layers(model).items() if CHANNELS.takes(layer)}, input_shapes(model, example)
    kept = matching(config.keep, found, "factorize: keep")
    read = read_elsewhere(model, example)
    free = [name for name in found if name not in kept and not why_whole(model, name, shapes, config.min_channels, read)]
    ranks = {name: rank_of(found[name].weight, config) for name in free}
    smaller = {name: rank for name, rank in ranks.items() if _is_smaller(found[name].weight, rank)}
    if not smaller:
        raise Impossible(f"factorize: none of {len(found)} layers gets smaller; lower rank, parameter_ratio or min_channels in params.yaml")
    return smaller


def rank_of(weight: Tensor, config: FactorizedTrainingParams) -> int:
    """The rank that the config asks for, of a weight [outputs, …]."""
    if config.rank is not None:
        return config.rank
    outputs, inputs = weight.flatten(1).shape
    most = max(1, int((config.parameter_ratio or 1.0) * outputs * inputs / (outputs + inputs)))
    return most - most % config.round_to if most >= config.round_to else most


def factorized(model: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """A copy in which each named layer is a pair of its rank, under all its names."""
    return replaced(model, {name: spectral_pair(cast("Layer", model.get_submodule(name)), rank) for name, rank in ranks.items()})


def spectral_pair(layer: Layer, rank: int) -> nn.Sequential:
    """Two layers whose product is the best approximation of the layer's weight; the second has its bias."""
    return chain(decomposed(layer, CHANNELS, NOT_WHITENED), (rank,))


def frobenius_decay(names: Iterable[str], strength: float) -> Callable[[nn.Module], Tensor] | None:
    """The penalty strength / 2 * sum of |U V|^2 over the pairs of those names; none at strength 0."""
    if strength == 0:
        return None

    def penalty(model: nn.Module) -> Tensor:
        pairs = [cast("nn.Sequential", model.get_submodule(name)) for name in names]
        factors = [(pair[1].get_parameter("weight").flatten(1), pair[0].get_parameter("weight").flatten(1)) for pair in pairs]
        return strength / 2 * torch.stack([((outer.T @ outer) * (inner @ inner.T)).sum() for outer, inner in factors]).sum()

    return penalty


def _is_smaller(weight: Tensor, rank: int) -> bool:
    outputs, inputs = weight.flatten(1).shape
    return rank * (outputs + inputs) < outputs * inputs


def _row(label: str, model: nn.Module, history: FitHistory | None, data: MethodData) -> tuple[object, ...]:
    loss, metric = round(_validation_loss(model, data), 6), round(data.validation_metric(model), 6)
    parameters = sum(value.numel() for value in model.parameters())
    return label, parameters, None if history is None else history.best_epoch, loss, metric


def _validation_loss(model: nn.Module, data: MethodData) -> float:
    """The mean loss of all samples of validation, batch by batch."""
    batches = in_order(data.validation, BATCH_SIZE)
    losses = [(data.objective.loss(predict(model, batch.inputs), batch.targets).item(), len(batch)) for batch in batches]
    return sum(loss * samples for loss, samples in losses) / len(data.validation)


def _curve(history: FitHistory, control: FitHistory) -> Curve:
    lines = {BEFORE: history, DENSE: control}
    series = {label: tuple((float(epoch.number), epoch.validation_loss) for epoch in found.epochs) for label, found in lines.items()}
    return Curve("Factorized and dense training", "epoch", "validation loss", series)
