"""A student that is its teacher with fewer layers: it starts from what the others know."""

from collections.abc import Sequence

from torch import nn

from slimline.data.batch import Batch
from slimline.errors import InputError
from slimline.methods.distill.pairing import longest_list
from slimline.methods.prune.residual_blocks import others_given, without_blocks


def fewer_layers(model: nn.Module, layers: int | Sequence[int], example: Batch) -> nn.Module:
    """A copy in evaluation mode with so many entries of its longest list of layers, at even distances, or with those of these numbers.

    The first and the last one stay where two or more do, as in Sanh et al. 2019, "DistilBERT" (arXiv 1910.01108), which takes every other.

    Raises:
        InputError: there are not so many.
        StageError: the model has no list of layers.
    """
    names = longest_list(model)
    kept = even(len(names), layers) if isinstance(layers, int) else list(layers)
    if len(kept) >= len(names) or max(kept, default=0) >= len(names):
        raise InputError(f"source_layers: the source has {len(names)} layers, 0 to {len(names) - 1}; give fewer")
    dropped = [name for place, name in enumerate(names) if place not in kept]
    return without_blocks(model, dropped, others_given(model, dropped, example))


def even(whole: int, count: int) -> list[int]:
    """So many of a row at even distances, its ends among them; of one the first."""
    if count >= whole:
        return list(range(whole))
    return [round(place * (whole - 1) / max(1, count - 1)) for place in range(count)]
