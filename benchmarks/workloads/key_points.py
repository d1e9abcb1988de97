"""An objective of its own: where a digit's ink has its middle and its top, on a larger canvas; the error is a distance in pixels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.data.columns import Rows
from slimline.objectives import Metric, Objective
from slimline.objectives.single import single
from slimline.workloads.cut import student_setting

SIDE, NEAR = 16, 1.0


class KeyPoints(Objective):
    """Points [N, points, 2] in pixels, judged by how far they are off."""

    name = "key-points"
    metrics: Mapping[str, Metric] = {
        "distance": Metric(lambda scores: float(scores["error"].mean()), unit="px", better="lower", mean_of="error"),
        "within_a_pixel": Metric(lambda scores: float(scores["near"].mean()), share_of="near"),
    }

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Huber loss of each coordinate."""
        return functional.huber_loss(single(outputs), single(targets))

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """The mean distance of a sample's points, and whether all are within a pixel."""
        apart = (single(outputs) - single(targets)).norm(dim=2)
        return {"error": apart.mean(1).numpy(), "near": (apart <= NEAR).all(1).numpy().astype(np.int64)}


class Net(nn.Module):
    """Two blocks of depthwise and pointwise convolutions with squeeze-and-excitation, and a head that gives points."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU())
        self.deep = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width)
        self.wide = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.BatchNorm2d(2 * width), nn.SiLU())
        self.squeeze, self.excite = nn.Linear(2 * width, width), nn.Linear(width, 2 * width)
        self.last = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(32 * width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 1, 16, 16] -> [N, 2, 2]: row and column of each point, in pixels."""
        x = self.wide(self.deep(self.stem(pixels)))
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))[:, :, None, None]
        found: Tensor = self.head(self.last(x)).reshape(-1, 2, 2) + SIDE / 2
        return found


class KeyPointsOfDigits:
    """Digits anywhere on a canvas of 16x16."""

    name, objective = "key-points", KeyPoints()

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, list[dict[str, Any]]]:
        """1,797 digits in a random order."""
        draw, images = np.random.default_rng(seed), load_digits().images / 16
        rows = [placed(images[place], draw) for place in draw.permutation(len(images))]
        test, validation = (round(options[f"{split}_fraction"] * len(rows)) for split in ("test", "validation"))
        sizes = {"test": test, "validation": validation, "calibration": options["calibration_samples"]}
        found = {split: [rows.pop() for _ in range(size)] for split, size in sizes.items()}
        return {"train": rows, **found}

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 1, 16, 16]."""
        return torch.from_numpy(rows["image"])[:, None]

    def targets(self, rows: Rows) -> Tensor:
        """[N, 2, 2]."""
        return torch.from_numpy(rows["points"])

    def build_teacher(self) -> nn.Module:
        """0.15 M parameters."""
        return Net(32)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Net(student_setting(config, "widths", (12,))[0])


def placed(image: NDArray[Any], draw: np.random.Generator) -> dict[str, Any]:
    """A digit somewhere on the canvas behind a little noise: the middle of its ink, and the middle of its topmost row of ink."""
    canvas = np.zeros((SIDE, SIDE))
    top, left = draw.integers(0, SIDE - 7, 2)
    canvas[top : top + 8, left : left + 8] = image
    rows, columns = np.mgrid[:SIDE, :SIDE]
    middle = [(canvas * grid).sum() / canvas.sum() for grid in (rows, columns)]
    first = int(np.flatnonzero(canvas.max(1) > 0.5)[0])
    crown = [first, float((canvas[first] * columns[first]).sum() / canvas[first].sum())]
    noisy = canvas + 0.05 * draw.standard_normal(canvas.shape)
    return {"image": noisy.astype(np.float32), "points": np.array([middle, crown], dtype=np.float32)}
