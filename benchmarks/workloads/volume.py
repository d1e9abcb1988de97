"""Volumes of eight frames: in which direction one of scikit-learn's digits moves, by three-dimensional convolutions."""

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

WAYS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
FRAMES, NOISE = 8, 0.3


class Net(nn.Module):
    """Three convolutions, two of them with strides, batch norms, and a hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv3d(1, width, 3, padding=1, bias=False), nn.BatchNorm3d(width)
        self.second, self.second_norm = nn.Conv3d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm3d(2 * width)
        self.third, self.third_norm = nn.Conv3d(2 * width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm3d(2 * width)
        self.hidden, self.head = nn.Linear(16 * width, 4 * width), nn.Linear(4 * width, len(WAYS))

    def forward(self, frames: Tensor) -> Tensor:
        """[N, 1, 8, 8, 8] -> logits [N, 4]."""
        x = torch.relu(self.first_norm(self.first(frames)))
        x = torch.relu(self.second_norm(self.second(x)))
        x = torch.relu(self.third_norm(self.third(x)))
        found: Tensor = self.head(torch.relu(self.hidden(x.flatten(1))))
        return found


class Volume:
    """Each digit moves by a pixel a frame (or stands for some frames) behind noise."""

    name, objective = "volume", classification(tuple(WAYS))

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, pd.DataFrame]:
        """1,797 volumes, cut by direction."""
        draw = np.random.default_rng(seed)
        images = (load_digits().images / 16).astype(np.float32)
        ways = draw.integers(0, len(WAYS), len(images))
        rows = [{"frames": moved(image, list(WAYS.values())[way], draw), "label": way} for image, way in zip(images, ways, strict=True)]
        return cut_table(pd.DataFrame(rows), options, seed)

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 1, 8, 8, 8]: frames, rows, columns."""
        return torch.from_numpy(rows["frames"])[:, None]

    def build_teacher(self) -> nn.Module:
        """0.17 M parameters."""
        return Net(24)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Net(student_setting(config, "widths", (8,))[0])


def moved(image: Any, way: tuple[int, int], draw: np.random.Generator) -> Any:
    """Frames [8, 8, 8] of a picture that moves in half of them, and noise over all."""
    steps = np.sort(draw.integers(0, FRAMES // 2 + 1, FRAMES))
    frames = np.stack([np.roll(image, (step * way[0], step * way[1]), (0, 1)) for step in steps])
    return (frames + NOISE * draw.standard_normal(frames.shape)).astype(np.float32)
