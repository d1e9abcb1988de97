"""A MobileNetV2-like net on the digits, resized to 3x16x16: bring-your-own, as `workload: benchmarks/workloads/depthwise.py:Depthwise`.

Inverted residuals with linear bottlenecks and ReLU6 (Sandler et al. 2018, arXiv:1801.04381): the kind of net that int8 hurts most,
because its channels differ in range by orders of magnitude once it was trained for long on much data (Nagel et al. 2019,
arXiv:1906.04721, figure 2). Half a minute on digits leaves them alike, and int8 then does no harm. So here they start apart:
the batch norms inside a block have scales spread over SPREAD_DECADES, and the next convolution's weights make up for it. Then the
net is trained as any other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.columns import Rows
from slimline.errors import WorkloadError
from slimline.workloads.cut import student_setting
from slimline.workloads.digits import Digits

SIDE = 16
EXPANSION = 6
STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 3, 2), (96, 2, 1), (128, 1, 1))
"""One group of blocks each: output channels, blocks, stride of the first."""
SPREAD_DECADES = 2.5


def unit(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1 without activation; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.widen = unit(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = unit(hidden, hidden, 3, stride=stride, groups=hidden)
        self.narrow = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H/stride, W/stride]."""
        y: Tensor = self.narrow(self.depthwise(self.widen(x)))
        return x + y if self.adds else y


def spread_channels_(model: nn.Module, decades: float) -> None:
    """Scale the channels inside each block by 10^-u, u uniform in [0, decades), and undo it in the weights behind them."""
    for block in model.modules():
        if isinstance(block, InvertedResidual):
            if isinstance(block.widen, nn.Sequential):
                _scaled_(block.widen[1], decades)  # the batch norm of the depthwise convolution undoes it
            factors = _scaled_(block.depthwise[1], decades)
            block.narrow[0].weight.data.div_(factors.view(1, -1, 1, 1))


def _scaled_(norm: nn.Module, decades: float) -> Tensor:
    factors = 10 ** (-decades * torch.rand(len(norm.weight)))
    norm.weight.data.mul_(factors)
    return factors


class MobileDigits(nn.Module):
    """A stem, inverted residuals, a 1x1 convolution, average pooling and a Linear layer."""

    def __init__(self, stages: tuple[tuple[int, int, int], ...], last: int, classes: int) -> None:
        super().__init__()
        self.stem = unit(3, 32, 3)
        inputs, blocks = 32, []
        for outputs, count, first_stride in stages:
            for index in range(count):
                blocks.append(InvertedResidual(inputs, outputs, first_stride if index == 0 else 1, EXPANSION if blocks else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = unit(inputs, last, 1)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, 16, 16] -> logits [N, classes]."""
        logits: Tensor = self.head(self.pool(self.last(self.blocks(self.stem(x)))))
        return logits


class Depthwise(Digits):
    """The digits as colour images of 16x16 pixels, for a net of depthwise separable convolutions."""

    name = "depthwise"

    def build_teacher(self) -> nn.Module:
        """The net of STAGES, its channels far apart: 0.6 M parameters."""
        model = MobileDigits(STAGES, 512, len(self.objective.labels))
        spread_channels_(model, SPREAD_DECADES)
        return model

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same kind of net with one block a group; `channels` are the widths of the groups."""
        channels = student_setting(config, "channels", (16, 24, 32, 48))
        if len(channels) < 2:
            raise WorkloadError(f"channels: give two widths or more, one a block (given: {list(channels)})")
        stages = tuple((width, 1, 2 if index in (2, 3) else 1) for index, width in enumerate(channels))
        return MobileDigits(stages, 128, len(self.objective.labels))

    def inputs(self, rows: Rows) -> Tensor:
        """Images [N, 3, 16, 16], about -1 to 1: the 8x8 pixels resized bilinearly, the same in the three colours."""
        large = functional.interpolate(super().inputs(rows), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return large.expand(-1, 3, -1, -1).contiguous()
