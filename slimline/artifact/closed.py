"""A model of transformers without the gaps that dropped layers leave: its cache of keys and values counts layers from 0 on, one by one."""

import copy
from typing import Any

from torch import nn

from slimline.artifact.stand_ins import Skip

DEPTH = "num_hidden_layers"


def closed(model: nn.Module) -> nn.Module:
    """A copy that computes the same with shorter lists, layers and configs numbered anew; the model itself where none has a gap.

    What its parameters are called changes, so it is for running and exporting alone.
    """
    gaps = {name: layers for name, layers in model.named_modules() if _has_gaps(layers)}
    if not gaps:
        return model
    whole = copy.deepcopy(model)
    for name in gaps:
        layers: Any = whole.get_submodule(name)
        kept = [place for place, layer in enumerate(layers) if not isinstance(layer, Skip)]
        whole.set_submodule(name, nn.ModuleList(layers[place] for place in kept), strict=True)
        for number, place in enumerate(kept):
            _renumber_(layers[place], number)
        for config in {id(one): one for module in whole.modules() if (one := getattr(module, "config", None)) is not None}.values():
            _shorten_(config, kept, len(layers))
    return whole


def _has_gaps(layers: nn.Module) -> bool:
    return isinstance(layers, nn.ModuleList) and 0 < sum(isinstance(layer, Skip) for layer in layers) < len(layers)


def _renumber_(layer: nn.Module, number: int) -> None:
    for module in layer.modules():
        if type(getattr(module, "layer_idx", None)) is int:
            module.layer_idx = number  # type: ignore[assignment]


def _shorten_(config: Any, kept: list[int], layers: int) -> None:
    """A config that is of so many layers, and its lists with an entry for each."""
    if getattr(config, DEPTH, None) != layers:
        return
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == layers and "layer" in name:
            setattr(config, name, [value[place] for place in kept])
    setattr(config, DEPTH, len(kept))
