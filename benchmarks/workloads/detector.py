"""A detector with an objective of its own: digits of several sizes on a canvas, each to be found, boxed and told apart."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.data.columns import Rows
from slimline.objectives import Metric, Objective
from slimline.objectives.columns import ratio
from slimline.objectives.single import single
from slimline.workloads.cut import student_setting

SIDE, STRIDE, CLASSES, MOST = 32, 4, 10, 3
"""Pixels of a picture's edge, pixels of a cell, kinds of digits, digits of a picture."""
CELLS = SIDE // STRIDE
SMALLEST, LARGEST = 9, 14
OVERLAP, RARE = 0.5, 10.0
"""The share of both boxes' area that makes them the same one; how much more an occupied cell weighs than one of the many empty ones."""
NOTHING = -1


class Boxes(Objective):
    """Outputs [N, 5 + classes, cells, cells]: is a box's middle in the cell, where in it, log of height and width in cells, its class.

    Targets [N, most, 5]: middle (row, column), height and width in pixels, class; NOTHING where there are fewer. A box is found where its
    class is right and it shares at least half of the joint area (IoU), each once.
    """

    name = "boxes"
    metrics: Mapping[str, Metric] = {"f1_at_50": ratio("twice_matched", "both")}

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Cross-entropy of the cells and of the classes, Huber loss of the boxes of occupied cells."""
        given = single(outputs)
        there, boxes, classes = cells_of(single(targets))
        empty = functional.binary_cross_entropy_with_logits(given[:, 0], there.float(), pos_weight=torch.tensor(RARE))
        at = given.permute(0, 2, 3, 1)[there]
        return empty + functional.huber_loss(at[:, 1:5], boxes[there]) + functional.cross_entropy(at[:, 5:], classes[there])

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Of each picture: twice the boxes that match, those given and those there together, and 1 - F1."""
        found, wanted = decoded(single(outputs)), [rows[rows[:, 4] >= 0] for rows in single(targets).numpy()]
        matched = np.array([matches(one, other) for one, other in zip(found, wanted, strict=True)])
        both = np.array([len(one) + len(other) for one, other in zip(found, wanted, strict=True)])
        return {"twice_matched": 2 * matched, "both": both, "error": 1 - 2 * matched / both}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """The class in each cell where a box is said to be, else NOTHING [N, cells, cells]."""
        given = single(outputs)
        return np.where(peaks(given).numpy(), given[:, 5:].argmax(1).numpy(), NOTHING)

    def same_answers(self, before: Tensors, after: Tensors) -> NDArray[Any]:
        """Which pictures get the same boxes, to the cell."""
        return np.asarray((self.answers(before) == self.answers(after)).all((1, 2)))

    def shown(self, answer: Any) -> str:
        """The digits with their cells."""
        cells = np.asarray(answer).reshape(CELLS, CELLS)
        return ", ".join(f"{cells[row, column]} at {row}/{column}" for row, column in np.argwhere(cells != NOTHING)) or "nothing"


class Net(nn.Module):
    """Five convolutions with batch norm, two of them strided, and one that says what is in each cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = ((1, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, 4 * width, 2), (4 * width, 4 * width, 1))
        self.body = nn.Sequential(*(block(*size) for size in sizes))
        self.head = nn.Conv2d(4 * width, 5 + CLASSES, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 1, 32, 32] -> [N, 15, 8, 8]."""
        found: Tensor = self.head(self.body(pixels))
        return found


def block(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A convolution with batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Detector:
    """Pictures of one to three digits that do not touch."""

    name, objective = "detector", Boxes()

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, list[dict[str, Any]]]:
        """2,000 pictures; a digit stands in those of one split alone."""
        draw, data = np.random.default_rng(seed), load_digits()
        order, counts = draw.permutation(len(data.images)), {"test": 400, "validation": 300, "calibration": options["calibration_samples"]}
        found, first = {}, 0
        for split, count in {**counts, "train": 1300}.items():
            own = order[first : first + round(len(order) * (0.55 if split == "train" else 0.15))]
            first += len(own)
            found[split] = [drawn(data.images[own], data.target[own], draw) for _ in range(count)]
        return found

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 1, 32, 32]."""
        return torch.from_numpy(rows["image"])[:, None]

    def targets(self, rows: Rows) -> Tensor:
        """[N, 3, 5]."""
        return torch.from_numpy(rows["boxes"])

    def build_teacher(self) -> nn.Module:
        """0.09 M parameters."""
        return Net(16)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Net(student_setting(config, "widths", (6,))[0])


def drawn(images: NDArray[Any], labels: NDArray[Any], draw: np.random.Generator) -> dict[str, Any]:
    """A picture behind a little noise, and its boxes."""
    canvas, boxes = np.zeros((SIDE, SIDE), np.float32), np.full((MOST, 5), NOTHING, np.float32)
    taken = np.zeros((SIDE, SIDE), bool)
    for place in range(draw.integers(1, MOST + 1)):
        number, size = draw.integers(len(images)), int(draw.integers(SMALLEST, LARGEST + 1))
        top, left = draw.integers(0, SIDE - size, 2)
        if taken[max(0, top - 1) : top + size + 1, max(0, left - 1) : left + size + 1].any():
            continue
        ink = np.asarray(Image.fromarray(images[number].astype(np.float32) / 16).resize((size, size)))
        canvas[top : top + size, left : left + size], taken[top : top + size, left : left + size] = ink, True
        boxes[place] = (top + size / 2, left + size / 2, size, size, labels[number])
    return {"image": canvas + 0.1 * draw.standard_normal(canvas.shape).astype(np.float32), "boxes": boxes}


def cells_of(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which cells hold a box's middle [N, cells, cells], the four numbers of it [N, cells, cells, 4], and its class."""
    there = torch.zeros(len(boxes), CELLS, CELLS, dtype=torch.bool)
    numbers, classes = torch.zeros(len(boxes), CELLS, CELLS, 4), torch.zeros(len(boxes), CELLS, CELLS, dtype=torch.long)
    picture, place = torch.nonzero(boxes[:, :, 4] >= 0, as_tuple=True)
    found = boxes[picture, place]
    row, column = (found[:, :2] // STRIDE).long().clamp(0, CELLS - 1).T
    there[picture, row, column] = True
    numbers[picture, row, column] = torch.cat([found[:, :2] / STRIDE % 1, (found[:, 2:4] / STRIDE).log()], 1)
    classes[picture, row, column] = found[:, 4].long()
    return there, numbers, classes


def peaks(given: Tensor) -> Tensor:
    """The cells that hold a box's middle more likely than not, and more likely than all around them [N, cells, cells]."""
    likely = given[:, 0]
    return (likely > 0) & (likely == functional.max_pool2d(likely[:, None], 3, 1, 1)[:, 0])


def decoded(given: Tensor) -> list[NDArray[Any]]:
    """The boxes of each picture [boxes, 5], the likeliest first."""
    corners = torch.stack(torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")).float()
    middles, sizes = (given[:, 1:3] + corners) * STRIDE, given[:, 3:5].clamp(max=3).exp() * STRIDE
    every = torch.cat([middles, sizes, given[:, 5:].argmax(1, keepdim=True).float()], 1).permute(0, 2, 3, 1)
    chosen = peaks(given)
    ranks = [torch.argsort(given[place, 0][cells], descending=True) for place, cells in enumerate(chosen)]
    return [every[place][cells][ranks[place]].numpy() for place, cells in enumerate(chosen)]


def matches(found: NDArray[Any], wanted: NDArray[Any]) -> int:
    """How many boxes are found, each by one."""
    left = list(wanted)
    for box in found:
        hits = [place for place, other in enumerate(left) if other[4] == box[4] and overlap(box, other) >= OVERLAP]
        if hits:
            del left[hits[0]]
    return len(wanted) - len(left)


def overlap(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The area of both over the area of either."""
    low = np.maximum(one[:2] - one[2:4] / 2, other[:2] - other[2:4] / 2)
    high = np.minimum(one[:2] + one[2:4] / 2, other[:2] + other[2:4] / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (float(one[2] * one[3] + other[2] * other[3]) - shared)
