"""Multiply-accumulates of a float model."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from slimline.data.batch import Batch, take


def _recurrent_flops(x: tuple[int, ...], w_ih: tuple[int, ...], w_hh: tuple[int, ...], *_: Any, **__: Any) -> int:
    """One LSTM layer in one direction: x [T, N, inputs], matrices [4 x hidden, inputs] and [4 x hidden, hidden]."""
    return 2 * x[0] * x[1] * (w_ih[0] * w_ih[1] + w_hh[0] * w_hh[1])


def _attention_flops(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Scores and mixtures of attention: q [N, heads, L, d], k and v [N, heads, S, d]."""
    return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])


MORE_OPERATIONS = {
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


def macs(model: nn.Module, example: Batch) -> int:
    """Multiply-accumulates of an evaluation on the first sample of `example`, without biases and element-wise work.

    The count is torch.utils.flop_counter's (matrix products, convolutions, attention), halved, and that of oneDNN's LSTM kernel. It hears
    of modules by hooks on gradients, which a view of a parameter has none of without gradients: the parameters are given detached.
    """
    evaluated = copy.deepcopy(model).eval() if model.training else model
    detached = {name: value.detach() for name, value in evaluated.named_parameters()}
    with layer_by_layer(), FlopCounterMode(display=False, custom_mapping=MORE_OPERATIONS) as counter, torch.no_grad():
        torch.func.functional_call(evaluated, detached, kwargs=dict(take(example, slice(0, 1))))
    return int(counter.get_total_flops()) // 2


@contextlib.contextmanager
def layer_by_layer() -> Iterator[None]:
    """Without torch's one kernel for a whole transformer layer, whose work is not counted."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
