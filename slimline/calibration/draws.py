"""What int8 owes to the samples that it was calibrated on: the same method over other draws of the calibration sample.

Ranges come from some hundred samples, and others would have given others. The spread of the metric over draws says how much of an int8
variant's figure is the luck of one; no draw is ever chosen by it.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import special
from torch import nn

from slimline.calibration.statistics import CalibrationStatistics, collect_statistics
from slimline.data.batch import Batch
from slimline.data.columns import read_rows
from slimline.data.samples import head
from slimline.data.stored import Making
from slimline.data.table import Table
from slimline.methods.data import MethodData
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.objectives import metric_of
from slimline.params import CalibrateParams, StaticParams
from slimline.training.fit import held_together, predict

SAMPLES = 512
"""Of validation, on which each draw is judged: as many as each layer's sensitivity is."""
CONFIDENCE = 0.99
"""Of the interval in which a further draw would lie: outside of it the shipped one is called untypical."""
LEAST = 2
"""Fewer other draws have no spread."""


@dataclass(frozen=True)
class Draws:
    """The metric of the quantized model by draw, on `judged_on` samples of validation; the first draw is the one that is shipped.

    `moves` are how far its outputs lie from the float model's (`objective.distance`): they differ where the metric does not.
    """

    metric: str
    figures: tuple[float, ...]
    moves: tuple[float, ...]
    judged_on: int

    @property
    def deviation(self) -> float:
        """The standard deviation over all draws; 0 of a single one."""
        return float(np.std(self.figures, ddof=1)) if len(set(self.figures)) > 1 else 0.0

    @property
    def is_typical(self) -> bool:
        """Whether the shipped draw is one like the others: within the prediction interval of a new one (Student's t)."""
        others = np.asarray(self.figures[1:])
        if len(others) < LEAST:
            return True
        farthest = special.stdtrit(len(others) - 1, (1 + CONFIDENCE) / 2)
        spread = others.std(ddof=1) * math.sqrt(1 + 1 / len(others))
        return bool(abs(self.figures[0] - others.mean()) <= farthest * spread + 1e-12)

    @property
    def facts(self) -> dict[str, Any]:
        """What the metrics file holds."""
        spread = {"min": min(self.figures), "max": max(self.figures), "sd": self.deviation}
        by_draw = {"figures": list(self.figures), "moves": list(self.moves)}
        return {"metric": self.metric, **by_draw, **spread, "judged_on": self.judged_on, "typical": self.is_typical}


def over_draws(
    model: nn.Module, made: Quantized, config: StaticParams, data: MethodData, others: Iterator[Batch], batch_size: int
) -> Draws:
    """Judge what was `made` of a model, and what each other draw would have made of it, on the same samples of validation."""
    judged, metric = head(data.validation, held_together(model, data.validation, SAMPLES)), metric_of(data.objective, data.metric)
    before = predict(model, judged.inputs)

    def measured(one: Quantized) -> tuple[float, float]:
        outputs = predict(simulate(one.model, one.plan, one.grids), judged.inputs)
        figure = metric.figure(data.objective.scores(outputs, judged.targets))
        return float(figure), float(data.objective.distance(before, outputs))

    def anew(draw: Batch) -> Quantized:
        def collect(net: nn.Module) -> CalibrationStatistics:
            return collect_statistics(net, draw, batch_size)

        return static(model, config, statistics=collect(model), data=dataclasses.replace(data, calibration=draw, collect=collect))

    figures, moves = zip(measured(made), *(measured(anew(draw)) for draw in others), strict=True)
    return Draws(data.metric, figures, moves, len(judged))


def other_draws(tables: Sequence[Table], make: Making, config: CalibrateParams, seed: int) -> Iterator[Batch]:
    """The draws behind the first: as many samples each, without repetition, from all rows of the tables (train and calibration)."""
    starts = np.cumsum([0, *map(len, tables)])
    size = min(config.samples, len(tables[-1]))
    for number in range(1, config.draws):
        chosen = np.random.default_rng([seed, number]).choice(starts[-1], size, replace=False)
        parts = [table.batch(mine.tolist()) for table, mine in zip(tables, _by_table(chosen, starts), strict=True) if len(mine)]
        yield make(read_rows(pa.Table.from_batches(parts).combine_chunks().to_batches()[0])).inputs


def _by_table(rows: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
    return [rows[(rows >= low) & (rows < high)] - low for low, high in itertools.pairwise(starts)]
