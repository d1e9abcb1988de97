"""An 11 M-parameter CNN on the digits, resized to 3x32x32: bring-your-own, as `workload: benchmarks/workloads/cnn11m.py:Cnn11m`.

Five convolutions of 64-128-256-256-512 channels with batch norm and ReLU, then Linear layers 8192-1024-512-10.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from slimline.data.columns import Rows
from slimline.errors import WorkloadError
from slimline.workloads.cut import student_setting
from slimline.workloads.digits import Digits, conv_unit

SIDE = 32
WIDTHS = (64, 128, 256, 256, 512)
POOLED = (0, 1, 3)
"""The blocks after which the image is halved, as in VGG: 32 -> 16 -> 8 -> 4, so that 512 x 4 x 4 = 8192 values are left."""


def conv_blocks(widths: tuple[int, ...]) -> nn.Sequential:
    """3x3 convolutions with batch norm and ReLU, [N, 3, 32, 32] -> [N, widths[-1], 4, 4]."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(zip((3, *widths), widths, strict=False)):
        layers.append(conv_unit(inputs, outputs))
        if index in POOLED:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Cnn11m(Digits):
    """The digits as colour images of 32x32 pixels, for a CNN whose fully connected head holds most of its weights."""

    name = "cnn11m"

    def build_teacher(self) -> nn.Module:
        """The CNN: 11.1 M parameters, 105 M multiply-accumulates an image."""
        head = (nn.Linear(WIDTHS[-1] * 16, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 512), nn.ReLU(), nn.Dropout(0.3))
        return nn.Sequential(conv_blocks(WIDTHS), nn.Flatten(), *head, nn.Linear(512, len(self.objective.labels)))

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same five blocks in other `channels`, average pooling and one Linear layer."""
        channels = student_setting(config, "channels", (32, 64, 96, 96, 128))
        if len(channels) != len(WIDTHS):
            raise WorkloadError(f"channels: give {len(WIDTHS)} widths, one a block (given: {list(channels)})")
        return nn.Sequential(
            conv_blocks(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], len(self.objective.labels))
        )

    def inputs(self, rows: Rows) -> Tensor:
        """Images [N, 3, 32, 32], about -1 to 1: the 8x8 pixels resized bilinearly, the same in the three colours."""
        large = functional.interpolate(super().inputs(rows), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return large.expand(-1, 3, -1, -1).contiguous()
