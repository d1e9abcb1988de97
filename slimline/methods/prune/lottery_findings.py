"""What the page and the metrics tell of a lottery ticket: round by round, beside the dense net and the controls."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from slimline.methods.edited import Curve, Edited, Listing
from slimline.methods.prune.lottery_rounds import CONTROLS, Round

NAMES = {"random_ticket": "random ticket", "random_init": "ticket, other initial weights"}
WHAT = (
    "Global magnitude, a training a round. The random ticket has as many weights in each layer, in places drawn at random, and the same "
    "initial weights; the other control has the ticket's places, and the initial weights of each layer shuffled."
)


@dataclass(frozen=True)
class Finding:
    """One round in figures: the share of weights left, the metric on validation of ticket and controls, and the epochs of all."""

    round: int
    left: float
    ticket: float
    best_epoch: int
    random_ticket: float | None
    random_init: float | None
    epochs: int


def finding(number: int, finished: Round, left: float) -> Finding:
    """The figures of one round."""
    controls = {name: finished.controls[name].metric if name in finished.controls else None for name in CONTROLS}
    epochs = sum(len(trained.history.epochs) for trained in (finished.ticket, *finished.controls.values()))
    return Finding(number, left, finished.ticket.metric, finished.ticket.history.best_epoch, **controls, epochs=epochs)


def told(found: Sequence[Finding], edited: Edited) -> Edited:
    """The result with its curve, its table, what it cost and the figures."""
    trainings = len(found) + sum(getattr(one, name) is not None for one in found for name in CONTROLS)
    cost = f"{trainings} trainings, {sum(one.epochs for one in found)} epochs in all; above stand those of the last round."
    figures = {"lottery": [dataclasses.asdict(one) for one in found]}
    return dataclasses.replace(edited, notes=(cost,), curves=(curve(found),), listings=(listing(found),), details=figures)


def curve(found: Sequence[Finding]) -> Curve:
    """The metric over the weights left; the dense net is a level."""
    ends, dense = (100 * found[0].left, 100 * found[-1].left), found[0].ticket
    lines = {"dense": tuple((end, dense) for end in ends), "ticket": tuple((100 * one.left, one.ticket) for one in found)}
    for control, name in NAMES.items():
        points = [(100 * one.left, getattr(one, control)) for one in found]
        if line := tuple(point for point in points if point[1] is not None):
            lines[name] = line
    return Curve("Validation metric against weights left", "weights left, %", "validation metric", lines, WHAT, log_x=True)


def listing(found: Sequence[Finding]) -> Listing:
    """A row a round."""
    columns = ("round", "weights left", "ticket", *NAMES.values(), "epoch kept")
    rows = tuple((one.round, f"{one.left:.1%}", one.ticket, one.random_ticket, one.random_init, one.best_epoch) for one in found)
    return Listing("Round by round", columns, rows, "The metric on validation; round 0 is the dense net.")
