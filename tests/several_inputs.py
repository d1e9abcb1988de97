"""Nets with several inputs of several types, called by name, and outputs by name; batches of real-looking samples for them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Batch, Tensors
from slimline.objectives.classification import Classification

SAMPLES, TOKENS, CLASSES = 24, 6, 3


class Table(nn.Module):
    """Two columns of categories (4 and 7 levels) through embeddings, three numbers through batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.town, self.trade, self.norm = nn.Embedding(4, 8), nn.Embedding(7, 8), nn.BatchNorm1d(3)
        self.first, self.second, self.head = nn.Linear(19, 32), nn.Linear(32, 16), nn.Linear(16, CLASSES)

    def forward(self, town: Tensor, trade: Tensor, numbers: Tensor) -> Tensor:
        x = torch.cat([self.town(town), self.trade(trade), self.norm(numbers)], 1)
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


class Text(nn.Module):
    """Token ids and which of them count, beside two numbers; gives a class and a score."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(11, 12), nn.Parameter(torch.randn(TOKENS, 12) / 10)
        self.mix, self.hidden = nn.Conv1d(12, 16, 3, padding=1), nn.Linear(16 + 2, 24)
        self.head, self.score = nn.Linear(24, CLASSES), nn.Linear(24, 1)

    def forward(self, ids: Tensor, mask: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.mix((self.words(ids) + self.place).transpose(1, 2)))
        x = x.masked_fill(~mask[:, None], 0.0).sum(2) / mask.sum(1, keepdim=True)
        x = torch.relu(self.hidden(torch.cat([x, numbers], 1)))
        return {"class": self.head(x), "score": self.score(x)[:, 0]}


class Pair(nn.Module):
    """One backbone on two pictures, with a refinement that runs three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.refine, self.act = nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16)
        self.hidden, self.head = nn.Linear(2 * 16 * 4, 24), nn.Linear(24, CLASSES)

    def half(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        for _ in range(3):
            x = x + self.act(self.refine(x))
        return functional.adaptive_avg_pool2d(x, (2, 2)).flatten(1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        one, other = self.half(left), self.half(right)
        return self.head(functional.silu(self.hidden(torch.cat([one, (one - other).abs()], 1))))


class Cells(nn.Module):
    """A cell that is stepped by hand from a state that is an input, and a plain RNN behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.rnn = nn.GRUCell(5, 12), nn.RNN(12, 12, batch_first=True)
        self.hidden, self.head = nn.Linear(12, 16), nn.Linear(16, CLASSES)

    def forward(self, steps: Tensor, state: Tensor) -> Tensor:
        states = []
        for step in range(steps.shape[1]):
            state = self.cell(steps[:, step], state)
            states.append(state)
        out, _ = self.rnn(torch.stack(states, 1))
        return self.head(torch.relu(self.hidden(out[:, -1])))


class Block(nn.Module):
    """Attention by keyword and a perceptron, each beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.behind, self.attend = nn.LayerNorm(width), nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        y = self.before(x)
        x = x + self.attend(query=y, key=y, value=y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.down(functional.gelu(self.up(self.behind(x))))


class Transformer(nn.Module):
    """A class token before embedded ids, a mask of whole numbers, and two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first = nn.Embedding(11, 16), nn.Parameter(torch.randn(1, 1, 16) / 10)
        self.blocks, self.norm, self.head = nn.ModuleList([Block(16), Block(16)]), nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = torch.cat([self.first.expand(len(input_ids), -1, -1), self.words(input_ids)], 1)
        padding = functional.pad(attention_mask == 0, (1, 0), value=False)
        for block in self.blocks:
            x = block(x, padding=padding)
        return self.head(self.norm(x[:, 0]))


class Both(Classification):
    """Classes of nets that give a class and a score."""

    def loss(self, outputs: Tensors, targets: Tensor) -> Tensor:
        assert not isinstance(outputs, Tensor)
        return super().loss(outputs["class"], targets) + outputs["score"].square().mean()

    def scores(self, outputs: Tensors, targets: Tensor) -> dict[str, object]:
        assert not isinstance(outputs, Tensor)
        return super().scores(outputs["class"], targets)


SORTS = Classification(("a", "b", "c"))


@dataclass(frozen=True)
class Several:
    """A net, its inputs, and how many channels of which layers are there to choose from."""

    net: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Batch]
    free: dict[str, int]
    objective: Classification = SORTS


def ids(generator: torch.Generator) -> Tensor:
    return torch.randint(11, (SAMPLES, TOKENS), generator=generator)


def mask(generator: torch.Generator) -> Tensor:
    return torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (SAMPLES, 1), generator=generator)


NETS = {
    "table": Several(
        Table,
        lambda chance: {
            "town": torch.randint(4, (SAMPLES,), generator=chance),
            "trade": torch.randint(7, (SAMPLES,), generator=chance),
            "numbers": 100 * torch.randn(SAMPLES, 3, generator=chance) + 1000,
        },
        {"town": 8, "trade": 8, "first": 32, "second": 16},
    ),
    "text": Several(
        Text,
        lambda chance: {"ids": ids(chance), "mask": mask(chance), "numbers": torch.rand(SAMPLES, 2, generator=chance)},
        {"mix": 16, "hidden": 24},
        Both(("a", "b", "c")),
    ),
    "pair": Several(
        Pair,
        lambda chance: {name: torch.rand(SAMPLES, 1, 8, 4, generator=chance) for name in ("left", "right")},
        {"refine": 16, "hidden": 24},
    ),
    "cells": Several(
        Cells,
        lambda chance: {"steps": torch.randn(SAMPLES, 4, 5, generator=chance), "state": torch.zeros(SAMPLES, 12)},
        {"hidden": 16},
    ),
    "transformer": Several(
        Transformer,
        lambda chance: {"input_ids": ids(chance), "attention_mask": mask(chance).long()},
        {"blocks.0.up": 32, "blocks.1.up": 32},
    ),
}


def net_of(name: str) -> nn.Module:
    """In evaluation mode, with batch norms that are not all alike."""
    torch.manual_seed(3)
    net = NETS[name].net().eval()
    for norm in [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]:
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            value.data.uniform_(0.5, 1.5)
    return net


def inputs_of(name: str, seed: int = 0) -> Batch:
    return NETS[name].inputs(torch.Generator().manual_seed(seed))
