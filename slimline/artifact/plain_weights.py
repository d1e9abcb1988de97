"""Weights that are computed from other parameters (weight norm, spectral norm) as plain ones: what is stored, compressed and deployed."""

from torch import nn
from torch.nn.utils import parametrize


def make_plain_(model: nn.Module) -> tuple[str, ...]:
    """Fold every parametrization of a model in evaluation mode into the weight that it makes, in place; which ones, in words.

    https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.parametrize.remove_parametrizations.html
    """
    model.eval()
    folded = []
    for name, module in list(model.named_modules()):
        parametrized = getattr(module, "parametrizations", None)
        if not isinstance(parametrized, nn.ModuleDict):
            continue
        for tensor, steps in list(parametrized.items()):
            kinds = " and ".join(type(step).__name__.lstrip("_") for step in steps.children())
            parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
            folded.append(f"{kinds} of {f'{name}.{tensor}'.lstrip('.')}")
    return tuple(folded)
