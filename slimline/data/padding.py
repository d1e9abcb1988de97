"""Places at which samples are filled up so that all are as long: no statistic of a layer's inputs counts them."""

import torch
from torch import Tensor

from slimline.artifact.signature import MASK
from slimline.data.batch import Batch

NO_PADDING = torch.empty(0)
"""Of samples that say nothing of it."""


def there_of(inputs: Batch) -> Tensor:
    """Which places are not filled up [N, places]; empty where nothing says."""
    return inputs.get(MASK, NO_PADDING)


def beside_padding(vectors: Tensor, features: Tensor, there: Tensor) -> Tensor:
    """The features with other vectors at the places that are there: what undoes `without_padding`."""
    if vectors.shape == features.shape:
        return vectors
    found = features.clone()
    found[(there if features.dim() == 3 else there.flatten()).bool()] = vectors
    return found


def without_padding(x: Tensor, there: Tensor) -> Tensor:
    """Features [N, places, width] or [N * places, width] of the places that are there, [vectors, width]; anything else as it is."""
    if there.numel() == 0 or bool(there.bool().all()) or not bool(there.any()):
        return x
    if x.dim() == 3 and x.shape[:-1] == there.shape:
        return x[there.bool()]
    return x[there.flatten().bool()] if x.dim() == 2 and len(x) == there.numel() else x
