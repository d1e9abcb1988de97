"""An exported program in which no operation gives a list of tensors: what is split, chunked or unbound is sliced.

ExecuTorch 1.5's check of types takes the length of the first tensor of such a list for the number of tensors, which makes a number of the
batch size: the program is written, and runs at its largest batch alone. Gated linear units, channel shuffles and GRU layers are such.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.export import ExportedProgram

aten = torch.ops.aten
RECURRENT = (aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input)
"""What torch itself makes splits of, while it lowers."""


def sliced(program: ExportedProgram) -> ExportedProgram:
    """The same program by slices; all other operations stay as they are."""
    found: ExportedProgram = program.run_decompositions(dict(_table()))
    return found


@functools.cache
def _table() -> Mapping[Any, Callable[..., Any]]:
    own: dict[Any, Callable[..., Any]] = {
        aten.split_with_sizes.default: _split_with_sizes,
        aten.split.Tensor: _split,
        aten.chunk.default: _chunk,
        aten.unbind.int: _unbind,
    }
    return dict[Any, Callable[..., Any]](get_decompositions(RECURRENT)) | own


def _split_with_sizes(whole: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [aten.slice.Tensor(whole, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _split(whole: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    length = whole.shape[dim]
    return [aten.slice.Tensor(whole, dim, start, min(start + size, length)) for start in range(0, length, size)]


def _chunk(whole: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    return _split(whole, -(-whole.shape[dim] // chunks), dim)


def _unbind(whole: Tensor, dim: int = 0) -> list[Tensor]:
    return [aten.select.int(whole, dim, place) for place in range(whole.shape[dim])]
