"""The bundled architectures of workloads without code: small nets that fit what their preprocessing gives."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.preprocessing import Columns, Pictures, Preprocessing, Texts
from slimline.errors import WorkloadError
from slimline.workloads.text import words_problem

WIDTHS = (32, 64, 128, 256)
HIDDEN = (256, 256, 128)
LARGEST_EMBEDDING = 32


def residual(preprocessing: Preprocessing, outputs: int, config: Mapping[str, Any]) -> nn.Module:
    """A residual CNN: a stem and one stage of `blocks` residual blocks for each of `widths`, each half as large as the one before."""
    if not isinstance(preprocessing, Pictures):
        raise WorkloadError("model.architecture: residual takes pictures; take perceptron for a table")
    settings = _settings(config, {"widths": WIDTHS, "blocks": 1})
    return Residual(len(preprocessing.mean), outputs, settings["widths"], settings["blocks"])


def perceptron(preprocessing: Preprocessing, outputs: int, config: Mapping[str, Any]) -> nn.Module:
    """An MLP over numbers and embedded categories, with hidden layers of `widths`."""
    if not isinstance(preprocessing, Columns):
        raise WorkloadError("model.architecture: perceptron takes a table; take residual for pictures")
    settings = _settings(config, {"widths": HIDDEN})
    levels = [len(category.levels) + 1 for category in preprocessing.categories]
    if not levels:
        return Perceptron(len(preprocessing.numbers), outputs, settings["widths"])
    if not preprocessing.numbers:
        return CategoriesPerceptron(levels, outputs, settings["widths"])
    return MixedPerceptron(len(preprocessing.numbers), levels, outputs, settings["widths"])


def convolutional(preprocessing: Preprocessing, outputs: int, config: Mapping[str, Any]) -> nn.Module:
    """Convolutions over embedded words, of which the strongest answer of each filter counts (Kim 2014, arXiv:1408.5882)."""
    if not isinstance(preprocessing, Texts):
        raise WorkloadError("model.architecture: convolutional takes texts; take residual for pictures, perceptron for a table")
    if problem := words_problem(preprocessing.vocabulary, f"params.yaml: data.text: column {preprocessing.column!r}"):
        raise WorkloadError(problem)
    settings = _settings(config, {"embedding": 64, "widths": (128, 128)})
    return Convolutional(len(preprocessing.vocabulary) + 2, outputs, settings["embedding"], settings["widths"])


class Convolutional(nn.Module):
    """An embedding, a convolution over three words each time, the largest value of each filter, and a hidden layer."""

    def __init__(self, words: int, outputs: int, embedding: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, embedding, padding_idx=0)
        self.filters = nn.Conv1d(embedding, widths[0], 3, padding=1)
        self.hidden = nn.Sequential(nn.Linear(widths[0], widths[-1]), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, ids: Tensor) -> Tensor:
        """Indices of words [N, length], 0 behind the end -> [N, outputs]."""
        found = functional.relu(self.filters(self.embed(ids).transpose(1, 2)))
        there = (ids > 0).unsqueeze(1).to(found.dtype)
        answer: Tensor = self.head(self.hidden((found * there).amax(2)))
        return answer


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H/stride, W/stride]."""
        hidden = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(hidden)) + self.shortcut(x))


class Residual(nn.Module):
    """A residual CNN with average pooling."""

    def __init__(self, channels: int, outputs: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages: list[nn.Module] = []
        for inputs, width in pairwise((widths[0], *widths)):
            stages += [Block(inputs, width, 2), *(Block(width, width, 1) for _ in range(blocks - 1))]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures [N, channels, H, W] -> [N, outputs]."""
        found: Tensor = self.head(self.stages(self.stem(pixels)).mean((2, 3)))
        return found


class Perceptron(nn.Module):
    """Linear layers with batch norm, and a head."""

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in pairwise((inputs, *widths)):
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, numbers: Tensor) -> Tensor:
        """[N, inputs] -> [N, outputs]."""
        found: Tensor = self.head(self.hidden(numbers))
        return found


def embedding_size(levels: int) -> int:
    """The width of an embedding for so many levels."""
    return min(LARGEST_EMBEDDING, (levels + 1) // 2 + 1)


class Embedded(nn.Module):
    """An embedding for each column of categories, side by side."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.columns = nn.ModuleList(nn.Embedding(level, embedding_size(level)) for level in levels)
        self.width = sum(embedding_size(level) for level in levels)

    def forward(self, categories: Tensor) -> Tensor:
        """Indices [N, columns] -> [N, width]."""
        return torch.cat([column(categories[:, place]) for place, column in enumerate(self.columns)], dim=1)


class CategoriesPerceptron(nn.Module):
    """A perceptron over embedded categories."""

    def __init__(self, levels: Sequence[int], outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.embedded = Embedded(levels)
        self.perceptron = Perceptron(self.embedded.width, outputs, widths)

    def forward(self, categories: Tensor) -> Tensor:
        """Indices [N, columns] -> [N, outputs]."""
        found: Tensor = self.perceptron(self.embedded(categories))
        return found


class MixedPerceptron(nn.Module):
    """A perceptron over numbers and embedded categories."""

    def __init__(self, numbers: int, levels: Sequence[int], outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.embedded = Embedded(levels)
        self.perceptron = Perceptron(numbers + self.embedded.width, outputs, widths)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """[N, numbers] and indices [N, columns] -> [N, outputs]."""
        found: Tensor = self.perceptron(torch.cat([numbers, self.embedded(categories)], dim=1))
        return found


def _settings(config: Mapping[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The settings of a net.

    Raises:
        WorkloadError: another key, or no positive whole numbers.
    """
    if unknown := sorted(set(config) - set(known)):
        raise WorkloadError(f"unknown key {unknown[0]!r}; allowed: {', '.join(known)}")
    found = known | dict(config)
    for name, value in found.items():
        values = value if isinstance(known[name], tuple) and isinstance(value, list | tuple) and value else [value]
        if isinstance(known[name], tuple) != isinstance(value, list | tuple) or not all(type(one) is int and one > 0 for one in values):
            raise WorkloadError(
                f"{name}: give {'a list of ' if isinstance(known[name], tuple) else 'a '}positive whole number (given: {value!r})"
            )
    return found
