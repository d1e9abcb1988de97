"""A model as torch.export sees it, for any batch: the one place where its refusals become ours."""

import copy
import inspect
import re
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch._export.verifier import SpecViolationError
from torch.export import Dim, ExportedProgram

from slimline.data.batch import Batch, clone
from slimline.data.calling import parameters_of
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.four_axes import FourAxes

MAX_BATCH = 65536
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    SpecViolationError,
    TypeError,
    ValueError,
)
"""What torch.export raises of its own, and what a forward raises that meets a batch without a number."""
BATCH = "batch"
"""The free axis that all inputs share."""
NO_BATCH = "its forward makes a number of the batch size, so the graph would take that size alone; use x.shape[0], or -1 in a reshape"
NO_AXIS = (
    "its forward makes a number of the size of an axis that varies from sample to sample, so the graph would take one size alone; use "
    "x.shape, or -1 in a reshape"
)
Shapes = dict[str, dict[int, Any]]
"""By input: axis (0 is the batch) -> the Dim that leaves it free."""


def exported(model: nn.Module, example: Batch, *, signature: Signature | None = None, max_batch: int | None = MAX_BATCH) -> ExportedProgram:
    """The operations that `model` runs in evaluation mode on `example`; the model stays as it is.

    The batch is left free, from 1 to `max_batch`, and so is each axis that `signature` says varies; without a `max_batch` every size is
    that of the example. The example has at least 2 samples and no varying axis of 1: torch.export takes a size of 1 for one that never
    varies. Plain Python fixes a size where a number is made of it (`len(x)`): then the model's code is read instead of run (`strict`),
    which keeps `len(x)` free. https://docs.pytorch.org/docs/stable/export.html

    Raises:
        StageError: torch.export cannot follow the model, or not without fixing a size.
    """
    shapes = None if max_batch is None else free_axes(example, signature, max_batch)
    try:
        return _followed(model, example, shapes, strict=False)
    except REFUSALS as error:
        first = error
    try:
        return _followed(model, example, shapes, strict=True)
    except REFUSALS:
        raise Impossible(f"torch.export cannot follow {type(model).__name__}: {reason_of(first)}") from first


def free_axes(example: Batch, signature: Signature | None, max_batch: int) -> Shapes:
    """By input, the axes that are left free: the batch, and those that vary.

    Axes within the same bounds that are equally long in the example are one: such as those of `input_ids` and `attention_mask`.
    """
    shapes: Shapes = {name: {0: Dim(BATCH, min=1, max=max_batch)} for name in example}
    known: dict[tuple[int, int, int], Any] = {}
    for one in signature.inputs if signature else ():
        for axis, (low, high) in one.varies.items():
            size = example[one.name].shape[axis + 1]
            shapes[one.name][axis + 1] = known.setdefault((low, high, size), Dim(f"{one.name}_{axis}", min=low, max=high))
    return shapes


def reason_of(error: BaseException) -> str:
    """What torch.export, or the exporter to ONNX that calls it, has to say: without the advice to its own developers."""
    text = str(error)
    if "specialized it to be a constant" in text or "Constraints violated" in text:
        named = re.search(r"Constraints violated \(([^)]*)\)", text)
        return NO_BATCH if named is None or BATCH in re.split(r"\W+", named[1]) else NO_AXIS
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if "Error" in line), lines[0] if lines else type(error).__name__)
    return " ".join(told.split())[:300]


def _followed(model: nn.Module, example: Batch, shapes: Shapes | None, *, strict: bool) -> ExportedProgram:
    with torch.no_grad(), warnings.catch_warnings(), FourAxes():
        warnings.simplefilter("ignore")
        frozen = copy.deepcopy(model).eval().requires_grad_(False)
        inputs: dict[str, Any] = dict(clone(example))
        return torch.export.export(_with_parameters(frozen, inputs), (), kwargs=inputs, dynamic_shapes=shapes, strict=strict)


def _with_parameters(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """A model whose `forward` has a parameter for each input: torch.export has no free axes for what goes into `**others`."""
    if set(names) <= parameters_of(model).keys():
        return model
    base = type(model)

    def forward(self: nn.Module, **batch: Any) -> Any:
        return base.forward(self, **batch)

    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    model.__class__ = type(base.__name__, (base,), {"forward": forward, "__module__": base.__module__, "__qualname__": base.__qualname__})
    return model
