"""What a chain is judged by before any target sees it: the drop on validation, and by how much it is smaller and quicker by estimate."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figures:
    """One chain's end: `drop` in the metric's own unit; ratios are teacher over chain, above 1 is better.

    `size_ratio` is of the stored weights, of a plan those that it plans; `time_ratio` of priced multiply-accumulates
    (slimline/measure/estimated_time.py): no clock is read.
    """

    drop: float
    size_ratio: float
    time_ratio: float

    def as_json(self) -> dict[str, float]:
        """As the journal and the page's JSON keep it."""
        return asdict(self)

    @property
    def costs(self) -> tuple[float, float, float]:
        """What is to be small: the drop, and what is left of size and time."""
        return self.drop, 1 / self.size_ratio, 1 / self.time_ratio


@dataclass(frozen=True)
class PutOff:
    """In place of figures: the machine failed, for want of memory or disk, and not the chain; with more room it may be made."""

    reason: str


def figures_of(metrics: Mapping[str, Any]) -> Figures | str:
    """The figures in a variant's reports/metrics/<stage>/<variant>.json, or the reason why it was not made."""
    if "missed" in metrics:
        return str(metrics["reason"])
    estimated = metrics["estimated"]
    return Figures(float(estimated["drop"]), metrics["baseline"]["size_bytes"] / metrics["size_bytes"], float(estimated["time_ratio"]))
