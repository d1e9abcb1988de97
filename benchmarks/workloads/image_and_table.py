"""A picture beside numbers and a category: scikit-learn's digits, with the ink of each quarter and how dark the whole is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from slimline.data.columns import Rows
from slimline.objectives.classification import classification
from slimline.workloads.cut import cut_table, student_setting

LEVELS = 5


class Net(nn.Module):
    """Two convolutions over the picture, an embedding of the category, and a perceptron over both and the numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.Flatten()),
        )
        self.level = nn.Embedding(LEVELS, 8)
        self.hidden = nn.Sequential(nn.Linear(32 * width + 8 + 4, 4 * width), nn.ReLU())
        self.head = nn.Linear(4 * width, 10)

    def forward(self, pixels: Tensor, numbers: Tensor, level: Tensor) -> Tensor:
        """[N, 1, 8, 8], [N, 4] and indices [N] -> logits [N, 10]."""
        found: Tensor = self.head(self.hidden(torch.cat([self.see(pixels), self.level(level), numbers], 1)))
        return found


class ImageAndTable:
    """Which digit it is, of the picture and four numbers and a category."""

    name, objective = "image-and-table", classification(tuple("0123456789"))

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, pd.DataFrame]:
        """1,797 digits, cut by class."""
        data = load_digits()
        images = (data.images / 16).astype(np.float32)
        quarters = [images[:, top : top + 4, left : left + 4].mean((1, 2)) for top in (0, 4) for left in (0, 4)]
        ink = images.mean((1, 2))
        level = np.searchsorted(np.quantile(ink, [0.2, 0.4, 0.6, 0.8]), ink)
        columns = {"image": list(images), "quarters": list(np.stack(quarters, 1)), "level": level, "label": data.target}
        return cut_table(pd.DataFrame(columns), options, seed)

    def inputs(self, rows: Rows) -> dict[str, Tensor]:
        """By name."""
        given = {"pixels": rows["image"][:, None], "numbers": rows["quarters"], "level": rows["level"]}
        return {name: torch.from_numpy(values) for name, values in given.items()}

    def build_teacher(self) -> nn.Module:
        """0.25 M parameters."""
        return Net(32)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Net(student_setting(config, "widths", (16,))[0])
