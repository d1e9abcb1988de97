"""Parameters that a model has under more than one name: tied weights, and those of a module that stands in it twice."""

from torch import nn


def shared_weights(model: nn.Module) -> dict[str, str]:
    """Parameter name -> the first other name of the same tensor, in the model's own order; parameters with one name are left out."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: same[name == same[0]] for same in names.values() if len(same) > 1 for name in same}
