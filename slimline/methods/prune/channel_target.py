"""The least ratio at which a model is as small, or as fast, as asked: found by bisection over models that are really cut."""

from collections.abc import Callable

from torch import nn

from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.macs import macs
from slimline.methods.prune.channel_counts import Counts

STEPS = 12
MOST = 1 - 1e-9
Measure = Callable[[nn.Module], float]


def measure_of(amount: str, data: MethodData) -> Measure:
    """What a budget of `amount` counts: parameters, macs (of one sample), or latency in milliseconds.

    Raises:
        StageError: nothing here can measure latency.
    """
    if amount == "parameters":
        return lambda model: sum(parameter.numel() for parameter in model.parameters())
    if amount == "macs":
        return lambda model: macs(model, data.example)
    if data.latency_ms is None:
        raise StageError("prune: channels: no latency can be measured here; give parameters or macs in params.yaml")
    return data.latency_ms


def least_ratio(counts_at: Callable[[float], Counts], left: Callable[[Counts], float], asked: float, what: str) -> tuple[float, float]:
    """The least ratio that leaves at most `asked` (a share), to 1 in 4096, and the share that it leaves.

    `counts_at` gives the channels that stay at a ratio, `left` the share of the budget that is left with them; equal counts are
    asked for once.

    Raises:
        StageError: even with as few channels as the config allows, more is left.
    """
    known: dict[tuple[int, ...], float] = {}

    def share(ratio: float) -> float:
        counts = counts_at(ratio)
        key = tuple(counts.values())
        if key not in known:
            known[key] = left(counts)
        return known[key]

    if (least := share(MOST)) > asked:
        refused = StageError if what == "latency" else Impossible
        raise refused(
            f"prune: channels can leave no less than {least * 100:.3g}% of the {what}, {asked * 100:.3g}% is asked; "
            f"lower round_to or floor, name more layers in only or fewer in keep, or ask for more"
        )
    low, high = 0.0, MOST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if share(middle) <= asked else (middle, high)
    return high, share(high)
