"""How far a model's outputs move: the one measure by which edits of single layers, heads and blocks are compared."""

import torch
from torch import Tensor


def output_change(outputs: Tensor, reference: Tensor) -> float:
    """The norm of the difference over the norm of the reference, of all outputs [N, …] together."""
    return float((outputs - reference).norm() / reference.norm().clamp_min(torch.finfo(torch.float32).tiny))
