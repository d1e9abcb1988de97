"""LSTM and GRU layers that round what their matrices multiply, step by step, as the kernels of a runtime do."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.methods.quantize.plan import Recurrent, matrices
from slimline.methods.quantize.ranges import symmetric_range
from slimline.methods.quantize.weights import Grid, derived_grid, rounded_weight

Rounding = Callable[[Tensor], Tensor]
State = Tensor | tuple[Tensor, Tensor] | None
HIDDEN_RANGE = symmetric_range(-1.0, 1.0)
"""Where every hidden state lies: an LSTM's is a sigmoid times a tanh, a GRU's a mean of tanhs."""


def rounded_recurrent(layer: Recurrent, entry: Mapping[str, Any], *, first: Rounding, deeper: Rounding) -> nn.Module:
    """A recurrent layer with its matrices rounded by a plan's entry, and what they multiply where the entry says so.

    `first` rounds the input and hidden state of its first layer, `deeper` those of the others. With a fixed range both matrices
    of a layer share their scales, as in OpenVINO's int8 kernel.
    """
    rounded = RoundedRecurrent(layer, (first, deeper) if entry["activations"] else (_as_it_is, _as_it_is))
    shared = shared_grids(matrices(layer), entry) if entry["input_range"] is not None else {}
    for name, weight in matrices(rounded).items():
        weight.data = rounded_weight(weight.data, entry, shared.get(name))
    return rounded.eval().requires_grad_(False)


def shared_grids(weights: Mapping[str, Tensor], entry: Mapping[str, Any]) -> dict[str, Grid]:
    """One grid for the two matrices of each layer and direction, by parameter name: the larger of their scales for each row."""
    found: dict[str, Grid] = {}
    for name, weight in weights.items():
        if "_ih_" in name:
            other = name.replace("_ih_", "_hh_")
            found[name] = found[other] = derived_grid(torch.cat([weight, weights[other]], dim=1), entry)
    return found


class RoundedRecurrent(nn.RNNBase):
    """An LSTM or GRU in evaluation mode: the same parameters, arguments and results.

    Rounded are the input of each of its layers, all steps at once, and the hidden state, of all samples at every step: where a
    range is taken while running, these are the tensors whose range ONNX Runtime's DynamicQuantizeLSTM takes. The gates, the cell
    state and the biases stay float32.
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.DynamicQuantizeLSTM
    """

    def __init__(self, layer: Recurrent, roundings: tuple[Rounding, Rounding]) -> None:
        settings = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
        super().__init__(layer.mode, **{name: getattr(layer, name) for name in settings})
        self.roundings = roundings
        self.load_state_dict(layer.state_dict())

    def forward(self, input: Tensor, hx: State = None) -> tuple[Tensor, State]:
        """As nn.LSTM and nn.GRU: [N, T, inputs] (batch_first) or [T, N, inputs] -> all hidden states, and what the last step left."""
        steps = input.transpose(0, 1) if self.batch_first else input
        directions = 2 if self.bidirectional else 1
        blank = steps.new_zeros(self.num_layers * directions, steps.shape[1], self.hidden_size)
        hidden, cells = hx if isinstance(hx, tuple) else (blank if hx is None else hx, blank)
        last = []
        for layer in range(self.num_layers):
            rounded, made = self.roundings[min(layer, 1)](steps), []
            for index in range(layer * directions, (layer + 1) * directions):
                is_backward = index % directions == 1
                outputs, *left = self._run(rounded.flip(0) if is_backward else rounded, index, hidden[index], cells[index])
                made.append(outputs.flip(0) if is_backward else outputs)
                last.append(left)
            steps = torch.cat(made, dim=-1)
        h_n, c_n = (torch.stack(values) for values in zip(*last, strict=True))
        return (steps.transpose(0, 1) if self.batch_first else steps), ((h_n, c_n) if self.mode == "LSTM" else h_n)

    def _run(self, steps: Tensor, index: int, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One layer in one direction: steps [T, N, inputs] -> hidden states [T, N, hidden], the last one, and the last cell state."""
        w_ih, w_hh, *biases = self.all_weights[index]
        rounding = self.roundings[0 if index < (2 if self.bidirectional else 1) else 1]
        b_ih, b_hh = biases or (None, None)
        outputs = []
        for from_input in functional.linear(steps, w_ih, b_ih):
            from_hidden = functional.linear(rounding(h), w_hh, b_hh)
            h, c = _lstm_step(from_input + from_hidden, c) if self.mode == "LSTM" else (_gru_step(from_input, from_hidden, h), c)
            outputs.append(h)
        return torch.stack(outputs), h, c


def _lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Hochreiter & Schmidhuber 1997, with PyTorch's order of gates: [N, 4 x hidden] -> hidden and cell state."""
    enter, forget, cell, leave = gates.chunk(4, dim=-1)
    c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
    return leave.sigmoid() * c.tanh(), c


def _gru_step(from_input: Tensor, from_hidden: Tensor, h: Tensor) -> Tensor:
    """Cho et al. 2014, arXiv:1406.1078, the reset gate behind the product as in PyTorch: [N, 3 x hidden] twice -> hidden state."""
    (reset, update, new), (reset_h, update_h, new_h) = from_input.chunk(3, dim=-1), from_hidden.chunk(3, dim=-1)
    z = (update + update_h).sigmoid()
    return (1 - z) * (new + (reset + reset_h).sigmoid() * new_h).tanh() + z * h


def _as_it_is(x: Tensor) -> Tensor:
    return x
