"""The small nets that methods are tried on: input [N, 1, 4, 4], three classes, as wide as asked."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """A stem, a residual convolution, a 1x1 convolution, a wide Linear layer and a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.block = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)
        self.hidden, self.head = nn.Linear(width * 16, 2 * width), nn.Linear(2 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 4, 4] -> [N, 3]."""
        x = self.stem(x)
        x = torch.relu(self.mix(torch.relu(x + self.block(x))))
        return self.head(torch.relu(self.hidden(x.flatten(1))))


class Block(nn.Module):
    """A convolution with batch norm beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, 4, 4] -> the same."""
        return functional.relu(x + self.norm(self.conv(x)))


class Blocks(nn.Module):
    """A stem, three residual blocks and a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.blocks = nn.Sequential(Block(width), Block(width), Block(width))
        self.head = nn.Linear(width * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 4, 4] -> [N, 3]."""
        return self.head(self.blocks(self.stem(x)).flatten(1))


class Plain(nn.Module):
    """Two convolutions and a Linear layer, each with batch norm, and a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(width * 16, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 4, 4] -> [N, 3]."""
        return self.head(self.hidden(self.second(self.first(x))))


class Encoder(nn.Module):
    """A transformer encoder of two layers and four heads over the rows of the image, and a head on their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(4, width), nn.Parameter(torch.randn(1, 4, width) / 4)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 4, 4] -> [N, 3]."""
        return self.head(self.norm(self.encoder(self.embed(x.squeeze(1)) + self.place)).mean(1))


NETS: dict[str, Callable[[int], nn.Module]] = {"residual": Residual, "plain": Plain, "blocks": Blocks, "encoder": Encoder}


def seeded(net: str, width: int) -> nn.Module:
    """A net of that name, untrained; equal widths give equal weights."""
    torch.manual_seed(width)
    return NETS[net](width)
