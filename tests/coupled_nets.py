"""Small nets whose channels are coupled in ways that no layer shows: gates, maxout, shuffles, slices; and what is asked of each.

Each takes [N, 1, 4, 4] (SERIES: [N, 5, 4]) and gives three classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """Layers by name, and how they are put together."""

    def __init__(self, forward: Callable[["Network", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


@dataclass(frozen=True)
class Case:
    """How the first layer's channels become those that the next one reads; `made` of the first, `read` by the next.

    `places` is how many channels of the first layer go together, 0 where it must stay whole.
    """

    made: int
    read: int
    between: Callable[[Tensor], Tensor]
    places: int
    norm: Callable[[int], nn.Module] = nn.Identity


def cut_at(x: Tensor, *bounds: int) -> list[Tensor]:
    return [x[:, start:end] for start, end in zip((0, *bounds), (*bounds, x.shape[1]), strict=True)]


def gated(x: Tensor) -> Tensor:
    value, gate = x.chunk(2, 1)
    return value * torch.sigmoid(gate)


def sliced(x: Tensor) -> Tensor:
    half = x.shape[1] // 2
    return x[:, :half] * torch.tanh(x[:, half:])


def fixed_split(x: Tensor) -> Tensor:
    value, gate = x.split([16, 16], 1)
    return value * torch.sigmoid(gate)


def by_split(x: Tensor) -> Tensor:
    value, gate = torch.split(x, x.shape[1] // 2, dim=1)
    return functional.gelu(gate) * value


def swapped(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([b, torch.relu(a)], 1)


def lstm_like(x: Tensor) -> Tensor:
    i, f, g, o = x.chunk(4, 1)
    return torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f))


def one_half_twice(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([a * b, a], 1)


def shuffled(x: Tensor, groups: int = 2) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def maxout_last(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, c // 2, 2, h, w).max(2)[0]


def maxout_first(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, 2, c // 2, h, w).amax(1)


def group_mean(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, c // 4, 4, h, w).mean(2)


def fixed_groups(x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    return x.view(n, 4, -1, h, w).mean(2)


def unequal(x: Tensor) -> Tensor:
    a, b = x.split([12, 20], 1)
    return torch.cat([torch.relu(a), torch.tanh(b)], 1)


def written(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, ::2] = x[:, ::2] * torch.sigmoid(x[:, 1::2])
    out[:, 1::2] = x[:, 1::2]
    return out


def by_index(x: Tensor) -> Tensor:
    half = torch.arange(x.shape[1] // 2)
    return x.index_select(1, half) * x[:, half + x.shape[1] // 2].sigmoid()


def in_place(x: Tensor) -> Tensor:
    x, half = x.clone(), x.shape[1] // 2
    x[:, :half].mul_(x[:, half:].sigmoid())
    return x[:, :half]


def attended(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True).roll(1, 1))


def softly_gated(x: Tensor) -> Tensor:
    return x * torch.softmax(x.mean((2, 3), keepdim=True), 1)


def spatially_gated(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.sum(1, keepdim=True) / 10)


def normalised(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=1)


class PictureNorm(nn.LayerNorm):
    """A layer norm over the channels of a picture, as ConvNeXt has it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


CASES: dict[str, Case] = {
    "chunk": Case(32, 16, gated, 2),
    "chunk behind batch norm": Case(32, 16, gated, 2, nn.BatchNorm2d),
    "chunk behind group norm": Case(32, 16, gated, 4, lambda width: nn.GroupNorm(4, width)),
    "chunk behind depthwise": Case(32, 16, gated, 2, lambda width: nn.Conv2d(width, width, 3, padding=1, groups=width)),
    "chunk behind depthwise of two": Case(32, 32, gated, 4, lambda width: nn.Conv2d(width, 2 * width, 3, padding=1, groups=width)),
    "chunk behind instance norm": Case(32, 16, gated, 2, nn.InstanceNorm2d),
    "chunk behind a group a channel": Case(32, 16, gated, 2, lambda width: nn.GroupNorm(width, width)),
    "chunk behind layer norm": Case(32, 16, gated, 2, PictureNorm),
    "chunk behind slopes": Case(32, 16, gated, 2, nn.PReLU),
    "chunk behind one slope": Case(32, 16, gated, 2, lambda _width: nn.PReLU()),
    "chunk behind transposed": Case(32, 16, gated, 2, lambda width: nn.ConvTranspose2d(width, width, 2, groups=width)),
    "chunk behind groups": Case(32, 16, gated, 4, lambda width: nn.Conv2d(width, width, 1, groups=4)),
    "glu": Case(32, 16, lambda x: functional.glu(x, 1), 2),
    "module glu": Case(32, 16, nn.GLU(1), 2),
    "slices": Case(32, 16, sliced, 2),
    "split": Case(32, 16, by_split, 2),
    "fixed split": Case(32, 16, fixed_split, 0),
    "interleaved": Case(32, 16, lambda x: x[:, ::2] * x[:, 1::2].sigmoid(), 2),
    "index": Case(32, 16, by_index, 2),
    "in place": Case(32, 16, in_place, 2),
    "written": Case(32, 32, written, 2),
    "three parts": Case(48, 16, lambda x: x.chunk(3, 1)[0] * x.chunk(3, 1)[1] + x.chunk(3, 1)[2], 3),
    "lstm": Case(64, 16, lstm_like, 4),
    "unbind": Case(32, 16, lambda x: torch.mul(*x.view(len(x), 2, -1, 4, 4).unbind(1)), 2),
    "unbind last": Case(32, 16, lambda x: torch.mul(*x.view(len(x), -1, 2, 4, 4).unbind(2)), 2),
    "swapped": Case(32, 32, swapped, 2),
    "one half twice": Case(32, 32, one_half_twice, 2),
    "unequal": Case(32, 32, unequal, 0),
    "maxout": Case(32, 16, maxout_last, 2),
    "maxout by halves": Case(32, 16, maxout_first, 2),
    "crelu": Case(16, 32, lambda x: torch.cat([torch.relu(x), torch.relu(-x)], 1), 1),
    "pixel shuffle": Case(64, 16, lambda x: functional.pixel_shuffle(x, 2), 4),
    "pixel unshuffle": Case(16, 64, lambda x: functional.pixel_unshuffle(x, 2), 1),
    "shuffle": Case(32, 32, shuffled, 2),
    "torch's shuffle": Case(32, 32, lambda x: functional.channel_shuffle(x, 2), 2),
    "flip": Case(32, 32, lambda x: x.flip(1), 1),
    "roll": Case(32, 32, lambda x: x.roll(3, 1), 0),
    "gate and its mirror": Case(32, 32, lambda x: x * x.flip(1).sigmoid(), 2),
    "group mean": Case(32, 8, group_mean, 4),
    "fixed groups": Case(32, 4, fixed_groups, 0),
    "attention by channel": Case(32, 32, attended, 0),
    "softmax over channels": Case(32, 32, softly_gated, 0),
    "sum over channels": Case(32, 32, spatially_gated, 0),
    "normalised": Case(32, 32, normalised, 0),
    "upsampled": Case(16, 16, lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"), 1),
}


def coupled(name: str) -> nn.Module:
    """A convolution, what stands between, another one and a head; with norms that are not all alike."""
    case = CASES[name]
    torch.manual_seed(len(name))

    def forward(net: Network, x: Tensor) -> Tensor:
        x = torch.relu(net.second(case.between(net.norm(net.first(x)))))
        return net.head(x.mean((2, 3)))

    layers = {
        "first": nn.Conv2d(1, case.made, 3, padding=1),
        "norm": case.norm(case.made),
        "second": nn.Conv2d(case.read, 24, 3, padding=1),
    }
    net = Network(forward, **layers, head=nn.Linear(24, 3)).eval()
    for norm in [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm)]:
        for key in ("weight", "bias", "running_mean", "running_var"):
            if getattr(norm, key, None) is not None:
                getattr(norm, key).data.uniform_(0.5, 1.5)
    return net
