"""What is known of a finished round of the lottery ticket, and how it is kept as tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from slimline.training.history import FitHistory, history_of, history_tensors

RANDOM_TICKET, RANDOM_INIT = "random_ticket", "random_init"
CONTROLS = (RANDOM_TICKET, RANDOM_INIT)
TICKET = "ticket"


@dataclass(frozen=True)
class Trained:
    """A trained network: its state, how its training went, and the metric on validation."""

    weights: Mapping[str, Tensor]
    history: FitHistory
    metric: float


@dataclass(frozen=True)
class Round:
    """One round: the ticket, and the controls where it has them; round 0 is the dense net and has the weights to rewind to."""

    ticket: Trained
    controls: Mapping[str, Trained] = field(default_factory=dict)
    rewind: Mapping[str, Tensor] = field(default_factory=dict)


def to_tensors(finished: Round) -> dict[str, Tensor]:
    """All of a round, by names such as `ticket/weights/0.bias`; figures are float64."""
    tensors = {f"rewind/{name}": value for name, value in finished.rewind.items()}
    for role, trained in {TICKET: finished.ticket, **finished.controls}.items():
        tensors |= {f"{role}/weights/{name}": value for name, value in trained.weights.items()}
        tensors |= {f"{role}/{name}": value for name, value in _figures(trained).items()}
    return tensors


def from_tensors(tensors: Mapping[str, Tensor]) -> Round:
    """The round that `to_tensors` was given, bit for bit."""
    roles = {name.partition("/")[0] for name in tensors} - {"rewind"}
    trained = {role: _trained(below(tensors, role)) for role in roles}
    controls = {role: trained[role] for role in CONTROLS if role in trained}
    return Round(trained[TICKET], controls, below(tensors, "rewind"))


def below(tensors: Mapping[str, Tensor], folder: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `folder/`, by the rest of their names."""
    return {name.removeprefix(f"{folder}/"): value for name, value in tensors.items() if name.startswith(f"{folder}/")}


def _figures(trained: Trained) -> dict[str, Tensor]:
    return history_tensors(trained.history) | {"metric": torch.tensor(trained.metric, dtype=torch.float64)}


def _trained(tensors: Mapping[str, Tensor]) -> Trained:
    return Trained(below(tensors, "weights"), history_of(tensors), tensors["metric"].item())
