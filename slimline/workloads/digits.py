"""`digits`: scikit-learn's 1,797 handwritten digits of 8x8 pixels, with a residual CNN as teacher."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.columns import Rows
from slimline.errors import WorkloadError
from slimline.objectives.classification import classification
from slimline.workloads.cut import cut_table, student_setting

if TYPE_CHECKING:
    import pandas as pd

SIDE = 8
WHITE = 16.0


def conv_unit(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_unit(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H/stride, W/stride]."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class ResidualDigits(nn.Module):
    """A residual CNN with a wide fully connected head: 1.5 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_unit(1, 64)
        self.blocks = nn.Sequential(ResidualBlock(64, 64), ResidualBlock(64, 128, 2), ResidualBlock(128, 128))
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(128 * 4 * 4, 384), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(384, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] -> logits [N, 10]."""
        logits: Tensor = self.head(self.hidden(self.blocks(self.stem(x))))
        return logits


class PlainDigits(nn.Module):
    """Three convolutions, average pooling and a Linear layer: the student."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.features = nn.Sequential(conv_unit(1, first), conv_unit(first, second, stride=2), conv_unit(second, third, stride=2))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(third, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] -> logits [N, 10]."""
        logits: Tensor = self.head(self.pool(self.features(x)))
        return logits


class Digits:
    """Handwritten digits, 8x8 grey pixels of 0 to 16."""

    name = "digits"
    objective = classification("0123456789")

    def splits(self, options: Mapping[str, Any], seed: int) -> "dict[str, pd.DataFrame]":
        """The 1,797 digits, cut and stratified; `pixels` are 64 numbers of 0 to 16, row after row."""
        import pandas as pd
        from sklearn.datasets import load_digits

        data = load_digits()
        pixels = list(data.data.astype("float32"))
        return cut_table(pd.DataFrame({"pixels": pixels, "label": data.target.astype("int64")}), options, seed)

    def build_teacher(self) -> nn.Module:
        """The residual CNN."""
        return ResidualDigits()

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The plain CNN; `channels` are its three widths."""
        channels = student_setting(config, "channels", (32, 64, 64))
        if len(channels) != 3:
            raise WorkloadError(f"channels: give three widths, one a block (given: {list(channels)})")
        first, second, third = channels
        return PlainDigits((first, second, third))

    def inputs(self, rows: Rows) -> Tensor:
        """Images [N, 1, 8, 8], scaled to about -1 to 1."""
        return torch.from_numpy(rows["pixels"].reshape(-1, 1, SIDE, SIDE) / (WHITE / 2) - 1)

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Turned by up to 15 degrees, scaled by up to 15 % and shifted by up to a pixel, each image its own way."""
        count = len(inputs)
        draw = torch.rand(count, 4, generator=generator) * 2 - 1
        angle, scale, shift = draw[:, 0] * torch.pi / 12, 1 + 0.15 * draw[:, 1], draw[:, 2:] * (2 / SIDE)
        cosine, sine = angle.cos() * scale, angle.sin() * scale
        rows = torch.stack((cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]), dim=1)
        grid = functional.affine_grid(rows.view(-1, 2, 3), list(inputs.shape), align_corners=False)
        return functional.grid_sample(inputs + 1, grid, align_corners=False) - 1

    def show(self, row: Mapping[str, Any]) -> str:
        """The digit as an SVG of 64 grey squares."""
        squares = "".join(
            f'<rect x="{index % SIDE}" y="{index // SIDE}" width="1.02" height="1.02" fill="rgb({g},{g},{g})"/>'
            for index, value in enumerate(row["pixels"])
            for g in [round(255 * (1 - value / WHITE))]
        )
        return f'<svg class="sample" viewBox="0 0 8 8" width="56" height="56" role="img" aria-label="a handwritten digit">{squares}</svg>'
