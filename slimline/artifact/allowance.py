"""How much a builder may take: every tensor that it makes is counted before it is made.

A manifest asks the workload's own builder for a model. Whatever it asks, the answer may not be larger than the workload's teacher or
than the file of weights beside it, so each function of torch that the builder calls is first called on `meta`, where tensors have
shapes and no memory. (A TorchDispatchMode would see more, and importing what it needs takes seconds.)
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_leaves, tree_map_only

from slimline.artifact.border import attempted
from slimline.errors import ArtifactError

SPARE_BYTES, SPARE_TENSORS = 64_000_000, 2_000
"""What any model may take: too little to harm a machine."""
PASSING = 4
"""A builder may make as many bytes again in passing (an orthogonal start makes its matrix three times)."""
NOT_PLANNED = frozenset({"__get__", "__set__", "__delete__", "__setitem__", "__deepcopy__", "__reduce_ex__", "__setstate__"})
"""Looks at or changes a tensor, or keeps account of which ones it has met; what copies a tensor calls `clone` for it."""


class Allowance(TorchFunctionMode):
    """Within it, some multiple of `tensors` may be made, of `size_bytes` in all (what is on `meta` anyway may be of any size).

    `what` begins the refusal.

    Raises:
        ArtifactError: the next tensor would be too much; it is not made.
    """

    def __init__(self, what: str, tensors: int, size_bytes: float = math.inf) -> None:
        super().__init__()
        self._what = what
        self._bytes_left = PASSING * (size_bytes + SPARE_BYTES)
        self._tensors_left = PASSING * (tensors + SPARE_TENSORS)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Count what the function would make, then call it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in NOT_PLANNED and not (name.endswith("_") and not name.endswith("__")):
            self._spend(func, args, kwargs)
        return func(*args, **kwargs)

    def _spend(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        given, named = tree_map_only(Tensor, _without_memory, (args, kwargs))
        if func in _device_constructors():
            named = {**named, "device": torch.device("meta")}
        made: Any = None
        with attempted():
            made = func(*given, **named)
        known = {id(value) for value in tree_leaves((given, named))}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and id(tensor) not in known and not tensor._is_view():
                self._bytes_left -= tensor.numel() * tensor.itemsize
                self._tensors_left -= 1
        if min(self._bytes_left, self._tensors_left) < 0:
            raise ArtifactError(f"{self._what} asks for more than its weights or the workload's teacher take; do not trust this artifact")


def _without_memory(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
