"""What a stage that makes a variant starts from, and what it has made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from slimline.artifact.manifest import Architecture
from slimline.artifact.variant import Variant
from slimline.data.batch import Batch
from slimline.data.samples import Split
from slimline.report.page import Figure, Table
from slimline.training.history import FitHistory


@dataclass(frozen=True)
class Origin:
    """What a variant starts from and is compared with: its source, the teacher, the validation split, and two samples of it."""

    source: Variant
    teacher: Variant
    validation: Split
    example: Batch


@dataclass(frozen=True)
class Sizes:
    """Bytes of the weights alone, counted in the same way for all three."""

    variant: int
    teacher: int
    source: int


@dataclass(frozen=True)
class Outcome:
    """What a stage made.

    `model` is saved. `judged` gives the validation figures where it is another one (a plan's simulation), and `sizes` stand in
    for the bytes of the folders where the variant's own form is no measure of them. `details` go into the metrics.
    """

    model: nn.Module
    summary: tuple[str, ...]
    history: FitHistory = field(default_factory=FitHistory)
    plan: dict[str, Any] | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)
    judged: nn.Module | None = None
    architecture: Architecture | None = None
    sizes: Sizes | None = None
    details: dict[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
