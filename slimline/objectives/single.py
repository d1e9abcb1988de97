"""The one tensor that most objectives read, and outputs as the arrays that readings take."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from slimline.data.batch import Tensors
from slimline.errors import WorkloadError


def single(values: Tensors) -> Tensor:
    """The tensor, or the only one of a mapping.

    Raises:
        WorkloadError: there are several.
    """
    if isinstance(values, Tensor):
        return values
    if len(values) == 1:
        return next(iter(values.values()))
    raise WorkloadError(f"the objective takes one tensor; outputs or targets hold {', '.join(values)}: write an objective that reads them")


def arrays(outputs: Tensors) -> Any:
    """Outputs without their gradients, on no device: one array, or several by name."""
    return _array(outputs) if isinstance(outputs, Tensor) else {name: _array(value) for name, value in outputs.items()}


def _array(value: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()
    return found
