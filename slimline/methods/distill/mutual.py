"""Train several students together, each on the labels and on what the others answer.

Zhang et al. 2018, "Deep mutual learning" (arXiv 1706.00384). No teacher takes part.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slimline.data.batch import Tensors, tensors
from slimline.data.samples import Samples
from slimline.methods.edited import Edited, Listing
from slimline.params import MutualParams
from slimline.training.data import TrainingData
from slimline.training.fit import scored

NAMED = 3
"""Modules that a note names."""
PART = "\x1f"
"""Between the number of a peer and the name of its output."""


class Peers(nn.Module):
    """Several nets as one: in training it gives the outputs of all, by number and name, else those of the first."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, **batch: Tensor) -> Tensors:
        """All of them on the same batch."""
        if not self.training:
            first: Tensors = self.nets[0](**batch)
            return first
        return {f"{number}{PART}{name}": value for number, net in enumerate(self.nets) for name, value in tensors(net(**batch)).items()}


def mutual(student: nn.Module, _teacher: nn.Module, config: MutualParams, *, data: TrainingData) -> Edited:
    """Return the best peer by validation, and the history, whose validation is the first peer's; the student itself stays as it is.

    The first peer starts from the student's weights, the others from other random ones, as far as its layers make such. loss of each =
    loss(labels) + peer_weight * the mean of guidance(own, another's).
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    peers = Peers([student, *(reinitialised(student, data.seed + number) for number in range(1, config.peers))])

    def loss(outputs: Tensors, batch: Samples) -> Tensor:
        if not torch.is_grad_enabled():
            return data.objective.loss(outputs, batch.targets)
        answers = [_of(outputs, number) for number in range(config.peers)]
        return torch.stack([_one(number, answers, batch, config, data) for number in range(config.peers)]).sum()

    trained, history = data.fitted(peers, config, loss=loss)
    nets: Any = trained.get_submodule("nets")
    figures = [data.validation_metric(net) for net in nets]
    errors = [float(scored(net, data.validation, data.objective)["error"].mean()) for net in nets]
    best = min(range(config.peers), key=errors.__getitem__)
    rows = tuple((number + 1, figure, "kept" if number == best else "") for number, figure in enumerate(figures))
    listing = Listing("Peers", ("peer", f"validation {data.metric}", ""), rows, "The epoch is the first peer's best one.")
    return Edited(nets[best].eval(), history, notes=kept_notes(student), listings=(listing,))


def reinitialised(student: nn.Module, seed: int) -> nn.Module:
    """A copy whose layers have new random weights, as each type of layer makes them; `kept_notes` tells of others."""
    fresh = copy.deepcopy(student)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in reversed(list(fresh.modules())):  # what holds others says last how they begin
            if reset := _reset_of(module):
                reset()
    return fresh


def kept_notes(student: nn.Module) -> tuple[str, ...]:
    """That some modules begin alike in all peers, since nothing says how they begin; empty where none do."""
    own = ((name, module) for name, module in student.named_modules() if next(module.parameters(recurse=False), None) is not None)
    kept = [name or "the net itself" for name, module in own if _reset_of(module) is None]
    if not kept:
        return ()
    return (f"All peers begin with the student's own weights in {', '.join(kept[:NAMED])}{' and others' if len(kept) > NAMED else ''}.",)


def _reset_of(module: nn.Module) -> Callable[[], None] | None:
    """What gives a module's own parameters new values, as torch calls it."""
    reset: Callable[[], None] | None = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
    return reset if callable(reset) else None


def _of(outputs: Tensors, number: int) -> Tensors:
    start = f"{number}{PART}"
    own = {name.removeprefix(start): value for name, value in tensors(outputs).items() if name.startswith(start)}
    return own[""] if set(own) == {""} else own


def _one(number: int, answers: list[Tensors], batch: Samples, config: MutualParams, data: TrainingData) -> Tensor:
    others = [_detached(answer) for place, answer in enumerate(answers) if place != number]
    guides = [data.objective.guidance(answers[number], other, config.temperature) for other in others]
    return data.objective.loss(answers[number], batch.targets) + config.peer_weight * torch.stack(guides).mean()


def _detached(values: Tensors) -> Tensors:
    return values.detach() if isinstance(values, Tensor) else {name: value.detach() for name, value in values.items()}
