"""Prune by and by: a part, training, the next part, training, as a `Schedule` says.

Han et al. 2015, "Learning both weights and connections for efficient neural networks" (arXiv 1506.02626), for rounds of equal
shares; Zhu & Gupta 2017, "To prune, or not to prune" (arXiv 1710.01878), for the cubic one, which takes most at first.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Curve, Edited
from slimline.methods.recalibrate import recalibrated_over
from slimline.params.schedule import Schedule, ScheduledParams
from slimline.training.checkpoints import round_name
from slimline.training.history import Epoch, FitHistory, history_of, history_tensors
from slimline.training.masks import zero_masks

WEIGHTS = "weights."


def amounts(schedule: Schedule, final: float) -> tuple[float, ...]:
    """The share of the whole that is gone after each round, rising to `final`.

    iterative: each round takes the same share of what remains, 1 - (1 - final)^(k/N). agp: final (1 - (1 - k/N)^3), of which the
    differences are largest at first.
    """
    if schedule.kind == "one_shot":
        return (final,)
    parts = [number / schedule.rounds for number in range(1, schedule.rounds)]
    if schedule.kind == "iterative":
        return (*(1 - (1 - final) ** part for part in parts), final)
    return (*(final * (1 - (1 - part) ** 3) for part in parts), final)


def stepwise(
    model: nn.Module, config: ScheduledParams, data: MethodData, prune_to: Callable[[nn.Module, float], nn.Module], *, final: float
) -> Edited:
    """Prune to each amount of the schedule, recalibrate batch norm, train `schedule.epochs` with the zeros kept, and go on to the next.

    `prune_to(model, amount)` gives a new model, the same one whenever it is called with equal weights; `amount` is the share of the
    model that the schedule began with. one_shot only prunes: its training is `recover`, after the method. Other settings of the
    training (batch size, learning rate, …) are those of `recover`. Where `data.checkpoints` is there, each finished round is kept in it,
    and taken from it the next time.
    """
    if config.schedule.kind == "one_shot":
        return Edited(prune_to(model, final))
    source, history, points = model, FitHistory(), []
    for number, amount in enumerate(amounts(config.schedule, final), start=1):
        pruned = prune_to(model, amount)
        model, one = _round(pruned, zero_masks(pruned, before=source), number, config, data)
        history = _continued(history, one)
        points.append((amount, data.validation_metric(model)))
    lines = {"after the round's training": tuple(points)}
    curve = Curve("Round by round", "share pruned", "validation metric", lines, "Each round starts from the last one.")
    return Edited(model, history, curves=(curve,), details={"rounds": len(points)})


def _round(
    pruned: nn.Module, masks: Mapping[str, Tensor], number: int, config: ScheduledParams, data: MethodData
) -> tuple[nn.Module, FitHistory]:
    """One round's training, or what it gave before."""
    stored = data.checkpoints.load(round_name(number)) if data.checkpoints else None
    if stored is not None:
        return _restored(pruned, stored)
    training = config.recover.model_copy(update={"epochs": config.schedule.epochs})
    recalibrated = recalibrated_over(pruned, data.train)
    trained, history = data.fitted(recalibrated, training, seed=(data.seed + number) % 2**32, masks=masks)
    if data.checkpoints:
        data.checkpoints.save(round_name(number), _stored(trained, history))
    return trained, history


def _stored(model: nn.Module, history: FitHistory) -> dict[str, Tensor]:
    weights = {f"{WEIGHTS}{name}": value for name, value in model.state_dict().items()}
    return weights | history_tensors(history)


def _restored(pruned: nn.Module, stored: Mapping[str, Tensor]) -> tuple[nn.Module, FitHistory]:
    pruned.load_state_dict({name.removeprefix(WEIGHTS): value for name, value in stored.items() if name.startswith(WEIGHTS)})
    return pruned.eval(), history_of(stored)


def _continued(history: FitHistory, later: FitHistory) -> FitHistory:
    """The epochs of both, numbered on; the later's best one is the one kept."""
    done = len(history.epochs)
    moved = tuple(Epoch(done + epoch.number, epoch.loss, epoch.validation_loss, epoch.metric) for epoch in later.epochs)
    return FitHistory((*history.epochs, *moved), done + later.best_epoch)
