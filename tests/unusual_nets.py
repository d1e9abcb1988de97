"""Nets whose parameters are not all in Linear layers and convolutions, for tests: float32 inputs of SHAPES[name], three classes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, WIDTH = 3, 64
STEPS = 6


class Embedded(nn.Module):
    """Token ids through an embedding, a place parameter, a convolution over them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(200, WIDTH), nn.Parameter(torch.randn(STEPS, WIDTH) / 10)
        self.conv, self.head = nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed((x.abs() * 20).long().clamp(max=199)) + self.place
        return self.head(torch.relu(self.conv(x.transpose(1, 2))).mean(dim=2))


class Tied(nn.Module):
    """An embedding whose weight is the head's as well, as in language models; answers are taken from the first classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(200, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 200, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.mix(self.embed((x.abs() * 20).long().clamp(max=199)))).mean(dim=1)
        return self.head(x)[:, :CLASSES]


class Volume(nn.Module):
    """Three-dimensional convolutions, one with a batch norm, and a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 16, 3, padding=1), nn.Conv3d(16, 32, 3, padding=1, bias=False)
        self.norm, self.up = nn.BatchNorm3d(32), nn.ConvTranspose3d(32, 8, 2, stride=2)
        self.hidden, self.head = nn.Linear(8 * 8, 256), nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.second(torch.relu(self.first(x)))))
        x = functional.max_pool3d(torch.relu(self.up(functional.max_pool3d(x, 2))), 2)
        return self.head(torch.relu(self.hidden(x.flatten(1))))


class Stepped(nn.Module):
    """Cells that are stepped by hand with a state made by len(x), a plain RNN, and LSTM and GRU with a state handed over by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.other = nn.GRUCell(8, WIDTH), nn.LSTMCell(WIDTH, WIDTH)
        self.rnn, self.lstm = nn.RNN(WIDTH, WIDTH, batch_first=True), nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state, cell, states = x.new_zeros(len(x), WIDTH), x.new_zeros(len(x), WIDTH), []
        hidden = state
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            hidden, cell = self.other(state, (hidden, cell))
            states.append(hidden)
        steps, last = self.rnn(torch.stack(states, 1))
        _, (last, _) = self.lstm(input=steps, hx=(last, torch.zeros_like(last)))
        return self.head(last[0])


class Normed(nn.Module):
    """Batch norms before and behind layers, group, layer and instance norms, PReLU, a scale for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.first, self.behind = nn.BatchNorm2d(4), nn.Conv2d(4, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH)
        self.group, self.second, self.act = nn.GroupNorm(8, WIDTH), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.PReLU(WIDTH)
        self.instance, self.scale = nn.InstanceNorm2d(WIDTH, affine=True), nn.Parameter(torch.full((WIDTH, 1, 1), 0.3))
        self.layer, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(torch.relu(self.behind(self.first(self.before(x)))))
        x = x + self.scale * self.instance(self.act(self.second(x)))
        return self.head(self.layer(x.mean(dim=(2, 3))))


class Attending(nn.Module):
    """Attention by keyword, with packed projections of itself and with ones apart of other widths; a transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(8, WIDTH)
        self.attend, self.cross = nn.MultiheadAttention(WIDTH, 4), nn.MultiheadAttention(WIDTH, 4, kdim=8, vdim=8, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(input=x)
        tokens = y.transpose(0, 1)
        y = y + self.attend(query=tokens, key=tokens, value=tokens, need_weights=False)[0].transpose(0, 1)
        y = y + self.cross(y, key=x, value=x)[0]
        return self.head(self.layer(y).mean(dim=1))


class ByFunction(nn.Module):
    """Weights used without their layers: a cosine head, a sliced and a standardised weight; one layer twice; one in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.twice, self.sliced = nn.Linear(8, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH + 2)
        self.standard, self.head, self.auxiliary = (
            Standardised(WIDTH, WIDTH),
            nn.Linear(WIDTH, CLASSES, bias=False),
            nn.Linear(WIDTH, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = torch.relu(self.enter(x.mean(dim=1)))
        with torch.no_grad():
            y = y + self.twice(y)
        y = torch.relu(self.twice(input=y))
        y = self.standard(functional.linear(y, self.sliced.weight[:WIDTH]))
        found = 12 * functional.linear(functional.normalize(y), functional.normalize(self.head.weight))
        return (found, self.auxiliary(y)) if self.training else found


class Standardised(nn.Linear):
    """A layer that changes its weight in each run."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight - self.weight.mean(dim=1, keepdim=True), self.bias)


NETS: dict[str, Callable[[], nn.Module]] = {
    "embedded": Embedded,
    "tied": Tied,
    "volume": Volume,
    "stepped": Stepped,
    "normed": Normed,
    "attending": Attending,
    "by function": ByFunction,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "embedded": (STEPS,),
    "tied": (STEPS,),
    "volume": (1, 4, 4, 4),
    "stepped": (STEPS, 8),
    "normed": (4, 6, 6),
    "attending": (STEPS, 8),
    "by function": (STEPS, 8),
}


def unusual_net(name: str) -> tuple[nn.Module, Tensor]:
    """A net of the table in evaluation mode, and 32 samples for it."""
    torch.manual_seed(5)
    net, inputs = NETS[name](), torch.randn(32, *SHAPES[name])
    for parameter in net.parameters():
        parameter.data += torch.randn_like(parameter) / 100  # so that no two norms or biases are equal, and stored as one
    net(inputs)  # in training mode: running statistics that are not zero and one
    return net.eval(), inputs
