"""What a method that prunes or factorizes makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from slimline.training.history import FitHistory


@dataclass(frozen=True)
class Curve:
    """Named lines of points (x, y) for the page."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[tuple[float, float], ...]]
    note: str = ""
    log_x: bool = False


@dataclass(frozen=True)
class Listing:
    """A table of plain values for the page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Edited:
    """A new model, and what the method has to tell of it.

    `history` is that of training within the method: where there is any, the stage leaves the batch norms as they were trained.
    `notes` are sentences for the page, `details` plain data for the metrics file.
    """

    model: nn.Module
    history: FitHistory = field(default_factory=FitHistory)
    notes: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    listings: tuple[Listing, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
