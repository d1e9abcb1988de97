"""Train a student on texts that its teacher wrote.

Kim & Rush 2016, "Sequence-level knowledge distillation" (arXiv 1606.07947); there the likeliest translation, here drawn texts, for a
language has no one answer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.artifact.signature import IDS
from slimline.data.batch import Batch, Rows, joined
from slimline.data.samples import Samples, Split
from slimline.errors import Impossible
from slimline.methods.distill.alone import with_all_steps
from slimline.methods.distill.generated import Written, written
from slimline.methods.edited import Edited, Listing
from slimline.objectives import Objective
from slimline.objectives.causal_lm import TOKENS, CausalLM
from slimline.objectives.readings import IGNORED
from slimline.params import SequenceParams
from slimline.training.data import TrainingData

NOT_COMPARED = "What was written was not held against test: nothing of it was at hand."


@dataclass(frozen=True)
class Mixed:
    """What was written, then some rows of a split; implements slimline.data.samples.Split."""

    made: Samples
    split: Split
    rows: torch.Tensor

    def __len__(self) -> int:
        return len(self.made) + len(self.rows)

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The samples of each group of rows, group by group."""
        places = torch.arange(len(self))
        for group in order:
            mine = places[group]
            parts = [self.made.take(mine[mine < len(self.made)])]
            if len(asked := self.rows[mine[mine >= len(self.made)] - len(self.made)]):
                parts += self.split.batches([asked])
            length = max(part.inputs[IDS].shape[1] for part in parts)
            parts = [_filled(part, length) for part in parts]
            yield Samples(joined([part.inputs for part in parts]), joined([part.targets for part in parts]))


def _filled(part: Samples, length: int) -> Samples:
    """The same windows, filled up behind to a length."""

    def longer(values: Tensor, fill: int) -> Tensor:
        return functional.pad(values, (0, length - values.shape[1]), value=fill)

    targets = cast("Batch", part.targets)
    inputs = {name: longer(value, 0) for name, value in part.inputs.items()}
    return Samples(inputs, {**targets, TOKENS: longer(targets[TOKENS], IGNORED)})


def sequence(student: nn.Module, teacher: nn.Module, config: SequenceParams, *, data: TrainingData) -> Edited:
    """Return the student trained on `config.texts` windows that the teacher wrote, real ones among them, and what the former are like.

    Texts that are thrown away cost no steps.

    Raises:
        StageError: the objective is not the next token of a text, or nothing that was written can be used.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    require_text(data.objective)
    made = written(teacher, config, data.train, data.held_out, data.seed)
    model, history = replace(data, train=_mixed(made, config, data)).fitted(student, with_all_steps(config, len(data.train)))
    rows = tuple((name, value if value % 1 else int(value)) for name, value in made.findings.items())
    notes = () if data.held_out is not None else (NOT_COMPARED,)
    listing = Listing("What the teacher wrote", ("", "number or share"), rows)
    return Edited(model, history, notes=notes, listings=(listing,), details={"written": made.findings})


def require_text(objective: Objective) -> None:
    """Hold a workload to being one of language models.

    Raises:
        StageError: it is none.
    """
    if not isinstance(objective, CausalLM):
        raise Impossible(f"distill: sequence is for language models, and this workload's objective is {objective.name}")


def _mixed(made: Written, config: SequenceParams, data: TrainingData) -> Split:
    count = config.real_windows(len(made.rows))
    draw = torch.Generator().manual_seed(data.seed + 1)
    return Mixed(made.samples, data.train, torch.randperm(len(data.train), generator=draw)[:count])
