"""Activation-aware low rank: a root C of the second moment of what a layer's weight multiplies, so that W C is approximated and not W.

Then the error is least in the layer's outputs (Wang et al. 2024, "SVD-LLM", arXiv:2403.07378). For a convolution the inputs are the
patches under its kernel. The moment is damped, by default by a tenth of its mean diagonal: samples are fewer than inputs.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Batch, split
from slimline.data.padding import without_padding
from slimline.methods.layer_calls import note_inputs

DAMPING = 0.1
MAX_DENSE = 4096
"""Up to so many inputs the moment is a matrix; above, the inputs themselves are kept."""
MAX_ROWS, MAX_WIDE_ROWS = 16384, 1024
"""At most so many input vectors of a layer are read, evenly spaced over the sample."""
BATCH_SIZE = 64


@dataclass(frozen=True)
class Whitening:
    """`times` gives W C and `undone` gives V C^-1 of matrices [rows, inputs], float64."""

    times: Callable[[Tensor], Tensor]
    undone: Callable[[Tensor], Tensor]


NOT_WHITENED = Whitening(lambda weight: weight, lambda factor: factor)


def whitenings(model: nn.Module, firsts: Mapping[str, nn.Module], inputs: Batch, damping: float = DAMPING) -> dict[str, Whitening]:
    """Run `inputs` through a copy of the model, and give the named layers' whitening.

    `firsts` names the layers, with the first layer of each one's chain: its inputs are the ones that are whitened.
    """
    twin = copy.deepcopy(model).eval()
    batches = list(split(inputs, BATCH_SIZE))
    seen = {name: _Seen() for name in firsts}
    notes = {name: _note(seen[name], first, len(batches)) for name, first in firsts.items()}
    note_inputs(twin, firsts, batches, lambda name, x, there: notes[name](x, there))
    return {name: _whitening(one, damping) for name, one in seen.items()}


def from_moment(moment: Tensor, damping: float = DAMPING) -> Whitening:
    """The lower triangular root of a moment [inputs, inputs], damped by a share of its mean diagonal."""
    damped = moment.double()
    ridge = damping * damped.diagonal().mean() + torch.finfo(torch.float32).tiny
    root = torch.linalg.cholesky(damped + ridge * torch.eye(len(damped), dtype=damped.dtype))
    return Whitening(lambda weight: weight @ root, lambda factor: torch.linalg.solve_triangular(root, factor, upper=False, left=False))


def from_rows(rows: Tensor, damping: float = DAMPING) -> Whitening:
    """The symmetric root of the damped moment of `rows` [samples, inputs], without making that matrix.

    It scales the directions that the rows span, and all others by the root of the damping.
    """
    _, values, directions = torch.linalg.svd(rows.double() / math.sqrt(len(rows)), full_matrices=False)
    ridge = damping * values.square().sum() / rows.shape[1] + torch.finfo(torch.float32).tiny
    floor, stretched = ridge.sqrt(), (values.square() + ridge).sqrt()
    return Whitening(
        lambda weight: _scaled(weight, directions, stretched, floor), lambda f: _scaled(f, directions, 1 / stretched, 1 / floor)
    )


def _scaled(matrix: Tensor, directions: Tensor, scales: Tensor, others: Tensor) -> Tensor:
    return others * matrix + (matrix @ directions.T * (scales - others)) @ directions


@dataclass
class _Seen:
    """What a layer received so far: the sum of the products of `count` rows, or the rows themselves."""

    rows: list[Tensor] = field(default_factory=list)
    moment: Tensor | None = None
    count: int = 0


def _note(seen: _Seen, first: nn.Module, batches: int) -> Callable[[Tensor, Tensor], None]:
    def note(x: Tensor, there: Tensor) -> None:
        rows = input_rows(first, x, there)
        wide = rows.shape[1] > MAX_DENSE
        some = rows[:: math.ceil(len(rows) * batches / (MAX_WIDE_ROWS if wide else MAX_ROWS))]
        seen.count += len(some)
        if wide:
            seen.rows.append(some.clone())
        else:
            product = (some.T @ some).double()
            seen.moment = product if seen.moment is None else seen.moment + product

    return note


def _whitening(seen: _Seen, damping: float) -> Whitening:
    if seen.moment is not None:
        return from_moment(seen.moment / seen.count, damping)
    return from_rows(torch.cat(seen.rows), damping) if seen.rows else NOT_WHITENED


def input_rows(layer: nn.Module, x: Tensor, there: Tensor) -> Tensor:
    """The vectors that a layer's weight, flattened to [outputs, inputs], multiplies: [positions, inputs]; none of padding, where known."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return without_padding(x, there).reshape(-1, x.shape[-1])
    padded = functional.pad(x, padding_of(layer), mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    flat = isinstance(layer, nn.Conv1d)
    planes = padded.unsqueeze(2) if flat else padded
    kernel, stride, dilation = (((1, *size) if flat else size) for size in (layer.kernel_size, layer.stride, layer.dilation))
    patches = functional.unfold(planes, kernel, dilation=dilation, stride=stride)
    return patches.movedim(1, 2).reshape(-1, patches.shape[1])


def padding_of(layer: nn.Conv1d | nn.Conv2d) -> list[int]:
    """Before and after each axis, the last axis first, as functional.pad takes it; `same` puts the odd one after."""
    sides: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):
        if isinstance(layer.padding, str):
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1) if layer.padding == "same" else 0
            sides += [total // 2, total - total // 2]
        else:
            sides += [layer.padding[axis]] * 2
    return sides
