"""Samples that are made up of the training split, or of nothing, and answered by the teacher once.

Mixed samples: Zhang et al. 2018, "mixup" (arXiv 1710.09412), labelled by a teacher as in Beyer et al. 2022 (arXiv 2106.05237). Between
neighbours: Chawla et al. 2002, "SMOTE" (arXiv 1106.1813). From nothing: inverted.py. Nothing but the training split is read, so that
nothing near a sample of test comes back.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from slimline.artifact.signature import MASK
from slimline.data.batch import Batch, Rows, Tensors, count, joined, moved, take, tensors
from slimline.data.samples import Samples, Split, head
from slimline.errors import Impossible
from slimline.methods.distill.inverted import inverted
from slimline.objectives.causal_lm import CausalLM
from slimline.params.student import GuidedTraining, Synthetic
from slimline.training.data import TrainingData
from slimline.training.device import device_under
from slimline.training.fit import Penalty, predict

TOGETHER = 256
"""Samples that are made at a time."""
FAR = 4096
"""Training samples among which a neighbour is looked for."""


def beside(data: TrainingData, teacher: nn.Module, config: GuidedTraining) -> Penalty | None:
    """What a step adds to its loss: the weighted distance to the teacher on a batch of what was made up; None where nothing is.

    Raises:
        StageError: no such samples can be made up.
    """
    asked = config.synthetic
    if asked is None or asked.alone:
        return None
    inputs = made_up(data, teacher, asked)
    answers = predict(teacher, inputs)

    def penalty(model: nn.Module) -> Tensor:
        rows = torch.randint(count(inputs), (min(config.batch_size, len(data.train)),))  # the training keeps this generator's state
        device = device_under(model)
        outputs: Tensors = model(**moved(take(inputs, rows), device))
        return asked.weight * data.objective.guidance(outputs, moved(take(answers, rows), device), config.temperature)

    return penalty


def in_place(data: TrainingData, teacher: nn.Module, config: GuidedTraining) -> TrainingData:
    """The data as they are; or, where what is made up is trained on alone, with that as the training split, whose targets say nothing."""
    if config.synthetic is None or not config.synthetic.alone:
        return data
    inputs = made_up(data, teacher, config.synthetic)
    return replace(data, train=Samples(inputs, _blank(head(data.validation, 1).targets, count(inputs))), augment=None)


def made_up(data: TrainingData, teacher: nn.Module, config: Synthetic) -> Batch:
    """Inputs of `config.samples` samples; equal seeds give equal ones.

    Raises:
        StageError: the objective is about texts, an input is of another kind, or the teacher has no batch norm to invert.
    """
    example = head(data.validation, 2).inputs
    require_kind(teacher, example, data, config)
    draw = torch.Generator().manual_seed(data.seed)
    if config.kind == "inverted":
        return inverted(teacher, example, config, data.objective, draw)
    make = {"mixup": _between, "neighbours": _near, "noise": _disturbed}[config.kind]
    sizes = [min(TOGETHER, config.samples - start) for start in range(0, config.samples, TOGETHER)]
    return joined([make(data.train, size, config, draw) for size in sizes])


def require_kind(teacher: nn.Module, example: Batch, data: TrainingData, config: Synthetic) -> None:
    """Hold a workload to having inputs that such samples can be made of.

    Raises:
        StageError: it has not.
    """
    if isinstance(data.objective, CausalLM) or MASK in example:
        raise Impossible(f"distill: synthetic: {config.kind} between texts is no text; let the teacher write some: method sequence")
    if config.kind == "inverted":
        if whole := [name for name, value in example.items() if not value.is_floating_point()]:
            raise Impossible(f"distill: synthetic: inverted moves numbers by gradients, and {whole[0]!r} holds categories; take neighbours")
        if not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats for layer in teacher.modules()):
            raise Impossible("distill: synthetic: inverted reads batch norm statistics, and the teacher has none; take mixup")


def _between(train: Split, size: int, _config: Synthetic, draw: torch.Generator) -> Batch:
    first, second = (_some(train, _rows(train, size, draw)) for _ in range(2))
    return _mixed(first, second, torch.rand(size, generator=draw), draw)


def _near(train: Split, size: int, config: Synthetic, draw: torch.Generator) -> Batch:
    known, rows = torch.randperm(len(train), generator=draw)[:FAR], _rows(train, size, draw)
    others, first = _some(train, known), _some(train, rows)
    apart = torch.cdist(_numbers(first, others), _numbers(others, others)).masked_fill(rows[:, None] == known, torch.inf)
    nearest = apart.topk(min(config.near, max(1, len(train) - 1), len(known)), largest=False).indices
    chosen = torch.randint(nearest.shape[1], (size, 1), generator=draw)
    second = take(others, nearest.gather(1, chosen).flatten())
    return _mixed(first, second, torch.rand(size, generator=draw), draw)


def _disturbed(train: Split, size: int, config: Synthetic, draw: torch.Generator) -> Batch:
    first, other = (_some(train, _rows(train, size, draw)) for _ in range(2))
    many = _some(train, torch.randperm(len(train), generator=draw)[:FAR])

    def moved_by(name: str, value: Tensor) -> Tensor:
        if value.is_floating_point():
            spread = many[name].std(0, unbiased=False)
            return value + config.strength * spread * torch.randn(value.shape, generator=draw)
        return torch.where(torch.rand(value.shape, generator=draw) < config.strength, other[name], value)

    return {name: moved_by(name, value) for name, value in first.items()}


def _mixed(first: Batch, second: Batch, share: Tensor, draw: torch.Generator) -> Batch:
    """Numbers between those of both, `share` [N] of the way; categories of the one or the other, never between."""

    def mixed(one: Tensor, other: Tensor) -> Tensor:
        by = share.view(-1, *[1] * (one.dim() - 1))
        if one.is_floating_point():
            return torch.lerp(one, other, by.to(one.dtype))
        return torch.where(torch.rand(one.shape, generator=draw) < by, other, one)

    return {name: mixed(value, second[name]) for name, value in first.items()}


def _numbers(values: Batch, scale: Batch) -> Tensor:
    """All inputs of each sample in one row, each by its spread; a category counts as a number of its own."""
    parts = [value.float() / scale[name].float().std(0, unbiased=False).clamp_min(1e-6) for name, value in values.items()]
    return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)


def _rows(train: Split, size: int, draw: torch.Generator) -> Tensor:
    return torch.randint(len(train), (size,), generator=draw)


def _some(train: Split, rows: Rows) -> Batch:
    return next(iter(train.batches([rows]))).inputs


def _blank(like: Tensors, size: int) -> Tensors:
    """Targets that say nothing, for as many samples."""
    found: dict[str, Tensor] = {name: value[:1].expand(size, *value.shape[1:]) for name, value in tensors(like).items()}
    return found[""] if isinstance(like, Tensor) else found
