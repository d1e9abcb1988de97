"""The one tensor that most objectives read."""

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
