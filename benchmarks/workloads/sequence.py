"""The digits read as sequences, row after row, by an LSTM: bring-your-own, as `workload: benchmarks/workloads/sequence.py:Sequence`."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from slimline.data.columns import Rows
from slimline.workloads.cut import student_setting
from slimline.workloads.digits import SIDE, Digits


class Recurrent(nn.Module):
    """Recurrent layers over the rows, and a Linear layer on what the last row left."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(cell(inputs, outputs, batch_first=True) for inputs, outputs in pairwise((SIDE, *widths)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [N, 8, 8] (rows, pixels) -> logits [N, classes]."""
        for layer in self.layers:
            x, _ = layer(x)
        logits: Tensor = self.head(x[:, -1])
        return logits


class Sequence(Digits):
    """Handwritten digits as eight steps of eight pixels."""

    name = "sequence"

    def build_teacher(self) -> nn.Module:
        """Two LSTM layers of 256: 0.8 M parameters."""
        return Recurrent(nn.LSTM, (256, 256), len(self.objective.labels))

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """GRU layers of the given `widths`."""
        return Recurrent(nn.GRU, student_setting(config, "widths", (96,)), len(self.objective.labels))

    def inputs(self, rows: Rows) -> Tensor:
        """Sequences [N, 8, 8], about -1 to 1: one step a row of the image."""
        return super().inputs(rows).squeeze(1).contiguous()

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Turned, scaled and shifted as images are."""
        return super().augment(inputs.unsqueeze(1), generator).squeeze(1)
