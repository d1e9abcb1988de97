"""The same student without its teacher, and both with a share of the samples: what shows what the teacher was worth."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from slimline.data.batch import Rows
from slimline.data.samples import Samples, Split
from slimline.params import StudentTraining
from slimline.training.data import TrainingData
from slimline.training.order import steps_per_epoch

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
    """The steps of a training of the student."""
    return config.epochs * steps_per_epoch(samples, config)


def without_teacher(student: nn.Module, config: StudentTraining, data: TrainingData, steps: int) -> nn.Module:
    """The student trained on labels alone for so many steps, in as many epochs; the student itself stays as it is."""
    asked = config if steps == steps_of(config, len(data.train)) else config.model_copy(update={"steps": steps})
    return data.fitted(student, asked)[0]


def share_of(data: TrainingData, share: float) -> TrainingData:
    """The same data with a share of the training samples, drawn by the seed: a smaller share is part of a larger one."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(data.seed))
    return replace(data, train=Part(data.train, order[: max(FEWEST, round(share * len(data.train)))]))


def with_all_steps(config: StudentTraining, samples: int) -> StudentTraining:
    """The config with the steps that it has over so many samples, however few there are."""
    return config.model_copy(update={"steps": steps_of(config, samples)})
