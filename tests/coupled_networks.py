"""Whole small nets with couplings between layers, as they are in use: gated perceptrons, shuffle units, cells, attention."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.coupled_nets import Network, gated, shuffled

TOKENS, PICTURE = (3, 5, 8), (3, 1, 4, 4)
Build = Callable[[], tuple[nn.Module, tuple[int, ...]]]


def net(shape: tuple[int, ...], forward: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> tuple[nn.Module, tuple[int, ...]]:
    return Network(forward, **layers).eval(), shape


def swiglu() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.embed(x)
        gate, value = net.both(net.norm(x)).chunk(2, -1)
        return net.head((x + net.down(functional.silu(gate) * value)).mean(1))

    layers = {"embed": nn.Linear(8, 16), "norm": nn.LayerNorm(16), "both": nn.Linear(16, 48), "down": nn.Linear(24, 16)}
    return net(TOKENS, forward, **layers, head=nn.Linear(16, 3))


def swiglu_of_two_layers() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.down(functional.silu(net.gate(x)) * net.value(x)).relu().mean(1))

    layers = {"gate": nn.Linear(8, 24), "value": nn.Linear(8, 24), "down": nn.Linear(24, 16)}
    return net(TOKENS, forward, **layers, head=nn.Linear(16, 3))


def geglu() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(functional.glu(net.both(x), dim=-1).mean(1))

    return net(TOKENS, forward, both=nn.Linear(8, 32), head=nn.Linear(16, 3))


def halves_apart() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        left, right = net.both(x).relu().chunk(2, -1)
        return (net.left(left) + net.right(right)).mean(1)

    return net(TOKENS, forward, both=nn.Linear(8, 32), left=nn.Linear(16, 3), right=nn.Linear(16, 3))


def attention_by_hand() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = net.qkv(x).view(n, t, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
        return net.head(net.hidden(x.transpose(1, 2).reshape(n, t, 16)).relu().mean(1))

    return net(TOKENS, forward, qkv=nn.Linear(8, 48), hidden=nn.Linear(16, 12), head=nn.Linear(12, 3))


def lstm_by_hand() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        h = c = torch.zeros(len(x), net.head.in_features)
        for step in x.unbind(1):
            i, f, g, o = (net.given(step) + net.kept(h)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return net.head(h)

    return net(TOKENS, forward, given=nn.Linear(8, 48), kept=nn.Linear(12, 48), head=nn.Linear(12, 3))


def squeeze_excitation() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x).relu()
        x = x * net.up(net.down(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        return net.head(x.mean((2, 3)))

    return net(PICTURE, forward, stem=nn.Conv2d(1, 16, 3, padding=1), down=nn.Linear(16, 8), up=nn.Linear(8, 16), head=nn.Linear(16, 3))


def shuffle_unit() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x).relu()
        for _ in range(2):
            passed, worked = x.chunk(2, 1)
            x = shuffled(torch.cat([passed, net.norm(net.one(worked)).relu()], 1))
        return net.head(x.mean((2, 3)))

    layers = {"stem": nn.Conv2d(1, 16, 3, padding=1), "one": nn.Conv2d(8, 8, 1), "norm": nn.BatchNorm2d(8)}
    return net(PICTURE, forward, **layers, head=nn.Linear(16, 3))


def grouped_shuffle() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.second(shuffled(net.first(net.stem(x)).relu(), 4)).relu().mean((2, 3)))

    layers = {"stem": nn.Conv2d(1, 16, 3, padding=1), "first": nn.Conv2d(16, 32, 1, groups=4), "second": nn.Conv2d(32, 16, 1, groups=4)}
    return net(PICTURE, forward, **layers, head=nn.Linear(16, 3))


def gated_residual() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = x + gated(net.norm(net.one(x)))
        return net.head((x + gated(net.two(x))).mean((2, 3)))

    layers = {"stem": nn.Conv2d(1, 8, 3, padding=1), "one": nn.Conv2d(8, 16, 3, padding=1), "norm": nn.BatchNorm2d(16)}
    return net(PICTURE, forward, **layers, two=nn.Conv2d(8, 16, 1), head=nn.Linear(8, 3))


def scales(widths: int = 4) -> tuple[nn.Module, tuple[int, ...]]:
    """As Res2Net: parts of a fixed width, each worked on with the one before."""

    def forward(net: Any, x: Tensor) -> Tensor:
        parts = torch.split(net.stem(x).relu(), widths, 1)
        made = [parts[0]]
        for layer, part in zip((net.one, net.two, net.three), parts[1:], strict=True):
            made.append(layer(part + made[-1]).relu())
        return net.head(net.mix(torch.cat(made, 1)).relu().mean((2, 3)))

    inner = {name: nn.Conv2d(4, 4, 3, padding=1) for name in ("one", "two", "three")}
    return net(PICTURE, forward, stem=nn.Conv2d(1, 16, 1), **inner, mix=nn.Conv2d(16, 12, 1), head=nn.Linear(12, 3))


def flattened_gate() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(gated(net.both(gated(net.stem(x)).flatten(1))))

    return net(PICTURE, forward, stem=nn.Conv2d(1, 16, 3, padding=1), both=nn.Linear(128, 24), head=nn.Linear(12, 3))


def weight_by_function() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = functional.linear(net.first(x).relu(), functional.normalize(net.cosine.weight, dim=1))
        return net.head(net.hidden(x).relu().mean(1))

    layers = {"first": nn.Linear(8, 16), "cosine": nn.Linear(16, 12), "hidden": nn.Linear(12, 8)}
    return net(TOKENS, forward, **layers, head=nn.Linear(8, 3))


def indices_among_numbers() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = torch.cat([net.embed(x[:, 0, 0].long()), x[:, 0, 1:]], 1)
        return net.head(net.hidden(x).relu())

    return net(TOKENS, forward, embed=nn.Embedding(4, 6), hidden=nn.Linear(13, 16), head=nn.Linear(16, 3))


def through_numpy() -> tuple[nn.Module, tuple[int, ...]]:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.hidden(torch.from_numpy(net.first(x).detach().numpy())).relu().mean(1))

    return net(TOKENS, forward, first=nn.Linear(8, 16), hidden=nn.Linear(16, 12), head=nn.Linear(12, 3))


FREE: dict[Build, dict[str, tuple[int, int]]] = {
    swiglu: {"both": (24, 2), "down": (16, 1)},
    swiglu_of_two_layers: {"value": (24, 1), "down": (16, 1)},
    geglu: {"both": (16, 2)},
    halves_apart: {"both": (16, 2)},
    attention_by_hand: {"hidden": (12, 1)},
    lstm_by_hand: {"kept": (12, 4)},
    squeeze_excitation: {"up": (16, 1), "down": (8, 1)},
    shuffle_unit: {},
    grouped_shuffle: {"second": (4, 4), "first": (2, 16), "stem": (4, 4)},
    gated_residual: {"two": (8, 2)},
    scales: {"mix": (12, 1), "three": (4, 1)},
    flattened_gate: {"both": (12, 2), "stem": (8, 2)},
    weight_by_function: {"hidden": (8, 1)},
    indices_among_numbers: {"hidden": (16, 1), "embed": (6, 1)},
    through_numpy: {"hidden": (12, 1)},
}
"""Of each net, the layers where removal starts: how many channels there are to choose from, and at how many places each stands."""
