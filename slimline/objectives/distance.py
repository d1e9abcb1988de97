"""How far outputs move: the one measure by which edits of single layers, heads and blocks are compared."""

import torch

from slimline.data.batch import Tensors, flat


def relative_change(before: Tensors, after: Tensors) -> float:
    """The norm of the difference over the norm of the outputs before, of all samples and values together."""
    old, new = flat(before), flat(after)
    return float((new - old).norm() / old.norm().clamp_min(torch.finfo(torch.float32).tiny))
