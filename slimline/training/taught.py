"""What a teacher gives for the samples of a training, asked once wherever training sees a sample as it is.

A frozen teacher gives the same for the same inputs. On validation, and on training where nothing augments it, its answers are therefore
kept, sample by sample: in memory, or, where they are large, in a file that is mapped. They come from batches of another size than those
of the training, so on training they differ from fresh ones by the rounding of kernels. Where a batch is filled up to its longest sample,
the answers are larger than half of the disk that is free, or a training of few steps sees no sample twice, the teacher is asked anew. Where
they stand already (slimline.training.known), it is not asked at all.
"""

import copy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from slimline.data.batch import Rows, Tensors, moved, take, tensors
from slimline.data.samples import Samples, Split, in_order
from slimline.params import Training
from slimline.params.section import Device
from slimline.params.student import keeps_answers
from slimline.training.data import TrainingData
from slimline.training.device import any_kernel, cpu_threads, device_of, device_under
from slimline.training.fit import HELD_BYTES, held_together

Ask = Callable[[Samples], Tensors]
"""From a batch to what the teacher gives for it, on the batch's device, without gradients."""
Data = TypeVar("Data", bound=TrainingData)


def as_given(answers: Tensors) -> Tensors:
    """The same."""
    return answers


@dataclass(frozen=True)
class Reading:
    """What a loss takes of a teacher's answers: made `of` fresh ones, or `of_known` ones, None where it is not to be had of those."""

    of: Callable[[Tensors], Tensors] = as_given
    of_known: Callable[[Tensors], Tensors | None] = lambda _: None


FRESH = Reading()


@dataclass(frozen=True)
class Taught:
    """A split whose batches carry a teacher's answers; implements slimline.data.samples.Split."""

    split: Split
    answers: Tensors

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The samples of each group of rows, group by group."""
        groups = list(order)
        read = zip(self.split.batches(groups), groups, strict=True)
        return (replace(batch, guidance=take(self.answers, rows)) for batch, rows in read)


@contextmanager
def taught(data: Data, teacher: nn.Module, config: Training, reading: Reading = FRESH) -> Iterator[tuple[Data, Ask]]:
    """The same data with the answers of `teacher` (a copy in evaluation mode) where they can be kept, and what gives them for any batch.

    `reading` makes of an answer what is kept, and what the loss is given.
    """
    device = device_of(config.device)
    frozen = _frozen(teacher, device, reading.of)

    def ask(batch: Samples) -> Tensors:
        return _answers(frozen, batch) if batch.guidance is None else batch.guidance

    if config.epochs == 0:
        yield data, ask
        return
    with tempfile.TemporaryDirectory(prefix="slimline-answers-") as folder, cpu_threads(config.threads), any_kernel(device):

        def kept(split: Split) -> Split:
            answers = _known(split, teacher, data, reading)
            answers = _asked(split, frozen, Path(folder)) if answers is None else answers
            return split if answers is None else Taught(split, answers)

        train = data.train if data.augment or not keeps_answers(config, len(data.train)) else kept(data.train)
        yield replace(data, train=train, validation=kept(data.validation)), ask


def answers_of(
    teacher: nn.Module, split: Split, read: Callable[[Tensors], Tensors], *, device: Device, threads: int, most_bytes: int
) -> Tensors | None:
    """What `read` makes of a teacher's answers for a whole split; None where they differ in shape, or are more than `most_bytes`."""
    where = device_of(device)
    with tempfile.TemporaryDirectory(prefix="slimline-answers-") as folder, cpu_threads(threads), any_kernel(where):
        return _asked(split, _frozen(teacher, where, read), Path(folder), most_bytes)


@dataclass(frozen=True)
class _Teacher:
    net: nn.Module
    read: Callable[[Tensors], Tensors]


def _answers(teacher: _Teacher, batch: Samples) -> Tensors:
    with torch.no_grad():
        answers: Tensors = teacher.read(teacher.net(**moved(batch.inputs, device_under(teacher.net))))
    return moved(answers, next(iter(batch.inputs.values())).device)


def _frozen(teacher: nn.Module, device: torch.device, read: Callable[[Tensors], Tensors]) -> _Teacher:
    return _Teacher(copy.deepcopy(teacher).eval().requires_grad_(False).to(device), read)


def _known(split: Split, teacher: nn.Module, data: TrainingData, reading: Reading) -> Tensors | None:
    answers = (known.answers for known in data.known if known.split is split and known.teacher is teacher)
    return next((found for one in answers if (found := reading.of_known(one)) is not None), None)


def _asked(split: Split, teacher: _Teacher, folder: Path, most_bytes: int = sys.maxsize) -> Tensors | None:
    """The teacher's answers, asked batch by batch; None where they cannot be kept."""
    room: dict[str, Tensor] = {}
    done, shapes = 0, set()
    for batch in in_order(split, held_together(teacher.net, split)):
        answers = tensors(_answers(teacher, batch))
        shapes.add(tuple(value.shape[1:] for value in (*batch.inputs.values(), *answers.values())))
        if len(shapes) > 1 or not (room or (room := _room(answers, len(split), folder, most_bytes))):
            return None
        for name, value in answers.items():
            room[name][done : done + len(value)] = value
        done += len(batch)
    return room[""] if set(room) == {""} else room


def _room(answers: dict[str, Tensor], samples: int, folder: Path, most_bytes: int) -> dict[str, Tensor]:
    """Room for such answers of so many samples; none where they are more, or the disk is too small."""
    needed = sum(value[0].nbytes for value in answers.values()) * samples
    if needed > most_bytes:
        return {}
    if needed <= HELD_BYTES:
        return {name: value.new_empty((samples, *value.shape[1:])) for name, value in answers.items()}
    if needed > shutil.disk_usage(folder).free // 2:
        return {}
    return {name: _mapped(value, samples, folder) for name, value in answers.items()}


def _mapped(like: Tensor, samples: int, folder: Path) -> Tensor:
    shape = (samples, *like.shape[1:])
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        return torch.from_file(file.name, shared=True, size=like[0].numel() * samples, dtype=like.dtype).view(shape)
