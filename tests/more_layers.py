"""Small nets of layers beyond Linear, Conv1d and Conv2d, and how many channels of which layers there are to choose from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Batch
from tests.coupled_nets import Network

CLASSES = 3


@dataclass(frozen=True)
class Layers:
    """A net of one or more inputs; `free` gives the channels of each group and at how many places of its layer each stands.

    `exact` says that the net without channels gives what it gives when nothing reads them: norms across channels do not let that be.
    """

    net: Callable[[], nn.Module]
    inputs: Callable[[], Batch]
    free: dict[str, tuple[int, int]]
    exact: bool = True


def volume() -> nn.Module:
    head = nn.Linear(8 * 8, CLASSES)
    first, second = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 12, 3, padding=1, groups=2)
    return nn.Sequential(first, nn.ReLU(), second, nn.BatchNorm3d(12), nn.ReLU(), nn.Conv3d(12, 8, 2, 2), nn.Flatten(), head)


def transposed(kind: type[nn.Module], plain: type[nn.Module], pool: nn.Module) -> Callable[[], nn.Module]:
    """A plain transposed convolution, one in two groups, one of two channels for each, and a convolution behind."""

    def build() -> nn.Module:
        layers = {"up": kind(8, 16, 2, stride=2), "groups": kind(16, 24, 3, groups=2), "each": kind(24, 48, 2, groups=24)}

        def forward(net: Any, x: Tensor) -> Tensor:
            x = net.each(torch.relu(net.groups(torch.relu(net.up(torch.relu(net.stem(x)))))))
            return net.head(pool(torch.relu(net.last(x))).flatten(1))

        return Network(forward, stem=plain(1, 8, 1), **layers, last=plain(48, 6, 1), head=nn.Linear(6, CLASSES))

    return build


class UNet(nn.Module):
    """Two steps down and up again, with skips that are concatenated, one step by a transposed convolution, one by a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.deep, self.norm = nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.up, self.after = nn.ConvTranspose2d(16, 10, 2, stride=2), nn.Conv2d(22, 16, 3, padding=1)
        self.last, self.head = nn.Conv2d(4 + 8, 8, 3, padding=1), nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 3, 8, 8], a class a pixel."""
        one = torch.relu(self.one(x))
        two = torch.relu(self.two(functional.max_pool2d(one, 2)))
        deep = torch.relu(self.norm(self.deep(functional.max_pool2d(two, 2))))
        two = torch.relu(self.after(torch.cat([self.up(deep), two], 1)))
        return self.head(torch.relu(self.last(torch.cat([functional.pixel_shuffle(two, 2), one], 1))))


def normed(norm: Callable[[int], nn.Module]) -> Callable[[], nn.Module]:
    """A convolution with a norm, and one behind it."""
    return lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3), norm(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, CLASSES)
    )


def series() -> nn.Module:
    norm, head = nn.InstanceNorm1d(16, affine=True), nn.Linear(8 * 4, CLASSES)
    return nn.Sequential(nn.Conv1d(2, 16, 3), norm, nn.PReLU(16), nn.Conv1d(16, 8, 3), nn.PReLU(8), nn.Flatten(), head)


def root_mean_square() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 24), nn.RMSNorm(24), nn.SiLU(), nn.Linear(24, 16), nn.GELU(), nn.Linear(16, CLASSES))


class Excited(nn.Module):
    """A block of a mobile net: widened, depthwise, squeezed and excited, narrowed, beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.depth = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 24, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.squeeze, self.excite, self.narrow = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1), nn.Conv2d(24, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.hardswish(self.depth(functional.relu6(self.wide(x))))
        y = y * functional.hardsigmoid(self.excite(torch.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))))
        return self.head((x + self.narrow(y)).mean((2, 3)))


class Words(nn.Module):
    """Two embeddings that are added, a third one beside them, and a convolution over the words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(11, 16, padding_idx=0), nn.Embedding(6, 16), nn.Embedding(3, 4)
        self.mix, self.head = nn.Conv1d(20, 12, 3, padding=1), nn.Linear(12, CLASSES)

    def forward(self, ids: Tensor, kind: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        x = torch.cat([x, self.kinds(kind)[:, None].expand(-1, ids.shape[1], -1)], 2)
        return self.head(torch.relu(self.mix(x.transpose(1, 2))).amax(2))


def floats(*shape: int) -> Callable[[], Batch]:
    return lambda: {"input": torch.randn(12, *shape, generator=torch.Generator().manual_seed(1))}


def named_x(*shape: int) -> Callable[[], Batch]:
    return lambda: {"x": torch.randn(12, *shape, generator=torch.Generator().manual_seed(1))}


def words() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return {"ids": torch.randint(11, (12, 6), generator=generator), "kind": torch.randint(3, (12,), generator=generator)}


UP = {"stem": (8, 1), "up": (8, 2), "each": (12, 4), "last": (6, 1)}
IN_GROUPS = {"0": (4, 4), "3": (8, 1)}
MORE: dict[str, Layers] = {
    "volume": Layers(volume, floats(1, 4, 4, 4), {"0": (4, 2), "2": (6, 2), "5": (8, 1)}),
    "transposed 1d": Layers(transposed(nn.ConvTranspose1d, nn.Conv1d, nn.AdaptiveAvgPool1d(1)), named_x(1, 4), UP),
    "transposed 2d": Layers(transposed(nn.ConvTranspose2d, nn.Conv2d, nn.AdaptiveAvgPool2d(1)), named_x(1, 4, 4), UP),
    "transposed 3d": Layers(transposed(nn.ConvTranspose3d, nn.Conv3d, nn.AdaptiveAvgPool3d(1)), named_x(1, 3, 3, 3), UP),
    "u-net": Layers(
        UNet, named_x(1, 8, 8), {"one": (8, 1), "two": (12, 1), "deep": (16, 1), "up": (10, 1), "after": (4, 4), "last": (8, 1)}
    ),
    "group norm": Layers(normed(lambda width: nn.GroupNorm(4, width)), floats(1, 8, 8), IN_GROUPS, exact=False),
    "a group a channel": Layers(normed(lambda width: nn.GroupNorm(width, width)), floats(1, 8, 8), {"0": (16, 1), "3": (8, 1)}),
    "one group": Layers(normed(lambda width: nn.GroupNorm(1, width)), floats(1, 8, 8), {"0": (16, 1), "3": (8, 1)}, exact=False),
    "instance norm": Layers(normed(lambda width: nn.InstanceNorm2d(width, affine=True)), floats(1, 8, 8), {"0": (16, 1), "3": (8, 1)}),
    "instance norm with statistics": Layers(
        normed(lambda width: nn.InstanceNorm2d(width, track_running_stats=True)), floats(1, 8, 8), {"0": (16, 1), "3": (8, 1)}
    ),
    "series": Layers(series, floats(2, 8), {"0": (16, 1), "3": (8, 1)}),
    "root mean square": Layers(root_mean_square, floats(8), {"0": (24, 1), "3": (16, 1)}, exact=False),
    "squeeze and excitation": Layers(Excited, named_x(1, 6, 6), {"narrow": (8, 1), "excite": (24, 1), "squeeze": (6, 1)}),
    "embeddings": Layers(Words, words, {"places": (16, 1), "kinds": (4, 1), "mix": (12, 1)}),
}


def net_of(name: str) -> nn.Module:
    """In evaluation mode, with norms and slopes that are not all alike."""
    torch.manual_seed(7)
    net = MORE[name].net().eval()
    for layer in net.modules():
        is_norm = "Norm" in type(layer).__name__ or isinstance(layer, nn.PReLU)
        for key in ("weight", "bias", "running_mean", "running_var") if is_norm else ():
            if isinstance(value := getattr(layer, key, None), Tensor):
                value.data.uniform_(0.5, 1.5)
    return net
