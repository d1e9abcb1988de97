"""A class a pixel: no ink, light or dark ink below noise, by a U-Net over scikit-learn's digits."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.columns import Rows
from slimline.objectives.segmentation import segmentation
from slimline.workloads.cut import student_setting

INK = ("none", "light", "dark")
LIMITS, NOISE = (2.0, 10.0), 0.25


class UNet(nn.Module):
    """Two steps down and up again, with skips that are concatenated; up by a transposed convolution and by interpolation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.deep = step(1, width), step(width, 2 * width), step(2 * width, 4 * width)
        self.up, self.after = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2), step(4 * width, 2 * width)
        self.last, self.head = step(3 * width, width), nn.Conv2d(width, len(INK), 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 1, 16, 16] -> logits [N, 3, 16, 16]."""
        one = self.one(pixels)
        two = self.two(functional.max_pool2d(one, 2))
        deep = self.deep(functional.max_pool2d(two, 2))
        x = self.after(torch.cat([two, self.up(deep)], 1))
        found: Tensor = self.head(self.last(torch.cat([one, functional.interpolate(x, scale_factor=2.0)], 1)))
        return found


def step(inputs: int, outputs: int) -> nn.Module:
    """A convolution with its batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Segmentation:
    """Digits at 16x16 pixels behind noise; the ink without it is the target."""

    name, objective = "segmentation", segmentation(INK)

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, pd.DataFrame]:
        """1,797 pictures."""
        draw = np.random.default_rng(seed)
        clean = load_digits().images.repeat(2, 1).repeat(2, 2)
        noisy = (clean / 16 + NOISE * draw.standard_normal(clean.shape)).astype(np.float32)
        table = pd.DataFrame({"image": list(noisy), "label": list(np.searchsorted(LIMITS, clean, side="right"))})
        rest, test = train_test_split(table, test_size=options["test_fraction"], random_state=seed)
        rest, validation = train_test_split(rest, test_size=options["validation_fraction"], random_state=seed)
        train, calibration = train_test_split(rest, test_size=options["calibration_samples"], random_state=seed)
        return {"train": train, "validation": validation, "calibration": calibration, "test": test}

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 1, 16, 16]."""
        return torch.from_numpy(rows["image"])[:, None]

    def build_teacher(self) -> nn.Module:
        """0.1 M parameters."""
        return UNet(16)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return UNet(student_setting(config, "widths", (8,))[0])
