"""The digits read row by row by a transformer encoder: bring-your-own, as `workload: benchmarks/workloads/transformer.py:Transformer`."""

from typing import Any

import torch
from torch import Tensor, nn

from slimline.data.columns import Rows
from slimline.errors import WorkloadError
from slimline.workloads.cut import student_setting
from slimline.workloads.digits import SIDE, Digits

HEAD_WIDTH = 16
MLP_TIMES = 4


class Encoder(nn.Module):
    """A Linear layer a row, a learned place for each, pre-norm encoder layers, and a Linear layer on the mean of the rows.

    Vaswani et al. 2017 (arXiv 1706.03762), with the norms first (Xiong et al. 2020, arXiv 2002.04745).
    """

    def __init__(self, width: int, layers: int, classes: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(SIDE, width), nn.Parameter(torch.randn(1, SIDE, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, width // HEAD_WIDTH, MLP_TIMES * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [N, 8, 8] (rows, pixels) -> logits [N, classes]."""
        logits: Tensor = self.head(self.encoder(self.embed(x) + self.place).mean(dim=1))
        return logits


class Transformer(Digits):
    """Handwritten digits as eight rows of eight pixels."""

    name = "transformer"

    def build_teacher(self) -> nn.Module:
        """Four layers of width 128, eight heads, and perceptrons of 512 neurons: 0.8 M parameters."""
        return Encoder(128, 4, len(self.objective.labels))

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """Layers of one width, a multiple of 16: `widths` has one entry a layer."""
        widths = student_setting(config, "widths", (64, 64))
        if len(set(widths)) != 1 or widths[0] % HEAD_WIDTH:
            raise WorkloadError(f"widths: give one multiple of {HEAD_WIDTH}, once for each layer (given: {list(widths)})")
        return Encoder(widths[0], len(widths), len(self.objective.labels))

    def inputs(self, rows: Rows) -> Tensor:
        """Sequences [N, 8, 8], about -1 to 1: one step a row of the image."""
        return super().inputs(rows).squeeze(1).contiguous()

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Turned, scaled and shifted as images are."""
        return super().augment(inputs.unsqueeze(1), generator).squeeze(1)
