"""The same student without its teacher, and both with a share of the samples: what shows what the teacher was worth."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from slimline.data.batch import Rows
from slimline.data.samples import Samples, Split
from slimline.params import StudentTraining
from slimline.training.data import TrainingData
from slimline.training.order import steps_per_epoch

Control = TypeVar("Control", bound=StudentTraining)
FEWEST = 2
"""Samples of a share: batch norms take no single one."""


@dataclass(frozen=True)
class Part:
    """Some rows of a split; implements slimline.data.samples.Split."""

    split: Split
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The samples of each group of rows, group by group."""
        return self.split.batches(self.rows[group] for group in order)


def steps_of(config: StudentTraining, samples: int) -> int:
    """The steps of one training of the student, on what it is trained on where the training split has so many samples."""
    return config.epochs * steps_per_epoch(config.trained_samples(samples), config)


def student_steps(config: StudentTraining, samples: int) -> int:
    """The steps of all its trainings: what a control of equal steps has."""
    return config.alone_steps(steps_of(config, samples))


def of_steps(config: Control, steps: int) -> Control:
    """The config of a control: so many steps, rounded up to whole epochs, all of which are taken."""
    epochs = max(1, config.epochs)
    return config.model_copy(update={"steps": epochs * -(-steps // epochs), "patience": None})


def without_teacher(student: nn.Module, config: StudentTraining, data: TrainingData, steps: int) -> nn.Module:
    """The student trained on labels alone for so many steps, in as many epochs; the student itself stays as it is."""
    return data.fitted(student, of_steps(config, steps))[0]


def share_of(data: TrainingData, share: float) -> TrainingData:
    """The same data with a share of the training samples, drawn by the seed: a smaller share is part of a larger one."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(data.seed))
    return replace(data, train=Part(data.train, order[: max(FEWEST, round(share * len(data.train)))]))


def with_all_steps(config: Control, samples: int) -> Control:
    """The config with the steps that it has over so many samples, however few there are."""
    return config.model_copy(update={"steps": steps_of(config, samples)})
