"""A model as torch.export sees it, for any batch: the one place where its refusals become ours."""

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from slimline.errors import StageError

MAX_BATCH = 65536
REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)
"""What torch.export raises of its own, and what a forward raises that meets a batch without a number."""


def exported(model: nn.Module, example: Tensor, *, max_batch: int | None = MAX_BATCH) -> ExportedProgram:
    """The operations that `model` runs in evaluation mode on `example` [N, …], N at least 2; the model stays as it is.

    The batch is left free, from 1 to `max_batch`; without one it is that of the example. Plain Python fixes it where a number is made
    of it (`len(x)`): then the model's code is read instead of run (`strict`), which keeps `len(x)` free.
    https://docs.pytorch.org/docs/stable/export.html

    Raises:
        StageError: torch.export cannot follow the model, or not without fixing its batch.
    """
    try:
        return _followed(model, example, max_batch, strict=False)
    except REFUSALS as error:
        first = error
    try:
        return _followed(model, example, max_batch, strict=True)
    except REFUSALS:
        raise StageError(f"torch.export cannot follow {type(model).__name__}: {reason_of(first)}") from first


def reason_of(error: BaseException) -> str:
    """What torch.export, or the exporter to ONNX that calls it, has to say: without the advice to its own developers."""
    text = str(error)
    if "specialized it to be a constant" in text or "Constraints violated" in text:
        return "its forward makes a number of the batch size, so the graph would take that size alone; use x.shape[0], or -1 in a reshape"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if "Error" in line), lines[0] if lines else type(error).__name__)
    return " ".join(told.split())[:300]


def _followed(model: nn.Module, example: Tensor, max_batch: int | None, *, strict: bool) -> ExportedProgram:
    shapes: Any = None if max_batch is None else ({0: torch.export.Dim("batch", min=1, max=max_batch)},)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = copy.deepcopy(model).eval().requires_grad_(False)
        return torch.export.export(frozen, (example.clone(),), dynamic_shapes=shapes, strict=strict)
