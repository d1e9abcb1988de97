"""How much a builder may take: every tensor that it makes is counted before it is made.

A manifest asks the workload's own builder for a model. Whatever it asks, the answer may not be larger than the workload's teacher or
than the file of weights beside it, so each operation of the builder is first done on `meta`, where tensors have shapes and no memory.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from slimline.errors import ArtifactError

SPARE_BYTES, SPARE_TENSORS = 64_000_000, 2_000
"""What any model may take: too little to harm a machine."""
PASSING = 4
"""A builder may make as many bytes again in passing (an orthogonal start makes its matrix three times)."""


class Allowance(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, some multiple of `tensors` may be made, of `size_bytes` in all (what is on `meta` anyway may be of any size).

    `what` begins the refusal.

    Raises:
        ArtifactError: the next tensor would be too much; it is not made.
    """

    def __init__(self, what: str, tensors: int, size_bytes: float = math.inf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._what = what
        self._bytes_left = PASSING * (size_bytes + SPARE_BYTES)
        self._tensors_left = PASSING * (tensors + SPARE_TENSORS)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Count what the operation would make, then do it."""
        kwargs = dict(kwargs or {})
        if not func._schema.is_mutable and not func.is_view:
            self._spend(_planned(func, args, kwargs))
        return func(*args, **kwargs)

    def _spend(self, made: Any) -> None:
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._bytes_left -= tensor.numel() * tensor.itemsize
                self._tensors_left -= 1
        if min(self._bytes_left, self._tensors_left) < 0:
            raise ArtifactError(f"{self._what} asks for more than its weights or the workload's teacher take; do not trust this artifact")


def _planned(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, without its memory; nothing where it depends on values that are not there on `meta`."""
    planned_args, planned_kwargs = tree_map_only(Tensor, _without_memory, (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        planned_kwargs = {**planned_kwargs, "device": torch.device("meta")}
    try:
        return func(*planned_args, **planned_kwargs)
    except RuntimeError:
        return None


def _without_memory(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
