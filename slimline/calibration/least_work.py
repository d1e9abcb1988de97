"""A variant's config with the least work that still shows whether its method can take a net: one epoch, one round, one step of a search."""

from typing import Any

from slimline.params import EditParams, LotteryTicketParams, Recovery, Training, VariantParams

MOST_ROUNDS = 2


def least_work(config: VariantParams) -> VariantParams:
    """The same config, of the same strength, that trains once through the data and searches one step; `recover` trains nothing."""
    changes = _one_epoch(config) if isinstance(config, Training) else {}
    if isinstance(config, LotteryTicketParams):
        changes |= {"rounds": 1, "control_rounds": (), "rewind_epoch": 0}
    if isinstance(config, EditParams):
        changes["recover"] = Recovery(epochs=0)
    for name, value in (("training", getattr(config, "training", None)), ("schedule", getattr(config, "schedule", None))):
        if isinstance(value, Training):
            changes[name] = value.model_copy(update=_one_epoch(value))
        elif value is not None:
            changes[name] = value.model_copy(update={"rounds": min(value.rounds, MOST_ROUNDS), "epochs": 1})
    if hasattr(config, "iterations"):
        changes["iterations"] = min(config.iterations, 1)
    return config.model_copy(update=changes)


def _one_epoch(training: Training) -> dict[str, Any]:
    steps = training.steps and -(-training.steps // max(1, training.epochs))
    return {"epochs": min(training.epochs, 1), "steps": steps, "patience": None}
