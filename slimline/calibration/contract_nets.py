"""The small nets and samples that a method of one's own is tried on: three classes, learned in a second."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import take
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.objectives.classification import classification
from slimline.params import Training
from slimline.training.fit import fit

SEED, WIDTH, STUDENT_WIDTH = 7, 32, 8
THREE = classification("abc")


class Pictures(nn.Module):
    """A stem with batch norm, a residual convolution, a wide Linear layer and a head: [N, 1, 4, 4] -> [N, 3]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.block = nn.Conv2d(width, width, 3, padding=1)
        self.hidden, self.head = nn.Linear(width * 16, 2 * width), nn.Linear(2 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        logits: Tensor = self.head(torch.relu(self.hidden(torch.relu(x + self.block(x)).flatten(1))))
        return logits


class Rows(nn.Module):
    """Three Linear layers over a row of numbers: [N, 16] -> [N, 3]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.layers(x)
        return logits


NETS: Mapping[str, tuple[type[Pictures] | type[Rows], tuple[int, ...]]] = {"pictures": (Pictures, (1, 4, 4)), "rows": (Rows, (16,))}


@dataclass
class SmallWorkload:
    """What an artifact of such a net is built by."""

    net: str
    name: str = "contract"

    def build_teacher(self) -> nn.Module:
        """As wide as the teacher is; equal weights every time."""
        return seeded(self.net, WIDTH)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """As wide as `width` says."""
        return seeded(self.net, int(config.get("width", STUDENT_WIDTH)))


def seeded(net: str, width: int) -> nn.Module:
    """An untrained net of that name; equal widths give equal weights."""
    torch.manual_seed(width)
    return NETS[net][0](width)


def samples(net: str, count: int, seed: int) -> Samples:
    """Noise with four brighter numbers; the label is which four."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (count,), generator=generator)
    rows = torch.randn(count, 16, generator=generator)
    for label in range(3):
        rows[targets == label, 4 * label : 4 * label + 4] += 2
    return Samples({"x": rows.reshape(count, *NETS[net][1])}, targets)


def small_data(net: str, *, trains: bool) -> MethodData:
    """What a stage would hand to a method beside the model; no training samples where the config does not declare `trains`."""
    train, held_out = samples(net, 96, 0), samples(net, 48, 1)
    return MethodData(
        train=train if trains else train.take(slice(0, 0)),
        validation=held_out,
        objective=THREE,
        metric="accuracy",
        seed=SEED,
        calibration=train.inputs,
        example=take(held_out.inputs, slice(0, 2)),
        collect=lambda model: collect_statistics(model, train.inputs, 32),
        sensitivity=lambda _kind: dict.fromkeys((name for name, _ in seeded(net, WIDTH).named_modules() if name), 1.0),
        initial=lambda: seeded(net, WIDTH),
        latency_ms=lambda model: float(sum(value.numel() for value in model.parameters())),
    )


def trained(net: str) -> nn.Module:
    """A teacher that has learned a little, so that magnitudes, batch norms and outputs mean something."""
    data = small_data(net, trains=True)
    config = Training(epochs=3, batch_size=16, learning_rate=0.01)
    model, _ = fit(seeded(net, WIDTH), data.train, config, objective=THREE, metric="accuracy", validation=data.validation, seed=SEED)
    return model.eval()
