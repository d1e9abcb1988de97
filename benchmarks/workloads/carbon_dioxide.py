"""A measured series, the weekly CO2 of Mauna Loa (statsmodels): the season of half a year by convolutions, the next week by a GRU."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from statsmodels.datasets import co2
from torch import Tensor, nn

from slimline.data.columns import Rows
from slimline.objectives.classification import classification
from slimline.objectives.regression import regression
from slimline.workloads.cut import student_setting

WEEKS, QUARTERS = 26, ("winter", "spring", "summer", "autumn")
SHARES = {"train": 0.6, "validation": 0.1, "calibration": 0.05, "test": 0.25}


class Convolutions(nn.Module):
    """Two convolutions over time, pooling, and a hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv1d(1, width, 5, padding=2, bias=False), nn.BatchNorm1d(width)
        self.second, self.second_norm = nn.Conv1d(width, 2 * width, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(2 * width)
        self.hidden, self.head = nn.Linear(26 * width, 2 * width), nn.Linear(2 * width, len(QUARTERS))

    def forward(self, signal: Tensor) -> Tensor:
        """[N, 1, 26] -> logits [N, 4]."""
        x = torch.relu(self.first_norm(self.first(signal)))
        x = torch.relu(self.second_norm(self.second(x)))
        found: Tensor = self.head(torch.relu(self.hidden(x.flatten(1))))
        return found


class Recurrent(nn.Module):
    """A GRU, and Linear layers on its last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru, self.hidden, self.head = nn.GRU(1, width, batch_first=True), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, series: Tensor) -> Tensor:
        """[N, 26, 1] -> [N, 1]."""
        states, _ = self.gru(series)
        found: Tensor = self.head(torch.relu(self.hidden(states[:, -1])))
        return found


class Signal:
    """The quarter of the year in which half a year of weekly values ends; later windows are for validation, calibration and test."""

    name, objective = "signal", classification(QUARTERS)

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, pd.DataFrame]:  # noqa: ARG002 - time decides
        """Windows in the order of time, so that none of test overlaps one of training by more than its edge."""
        return in_order_of_time(windows())

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 1, 26], each window about 0 with a spread of 1."""
        return torch.from_numpy(rows["weeks"])[:, None]

    def targets(self, rows: Rows) -> Tensor:
        """The quarter."""
        return torch.from_numpy(rows["quarter"])

    def build_teacher(self) -> nn.Module:
        """0.1 M parameters."""
        return Convolutions(48)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Convolutions(student_setting(config, "widths", (16,))[0])


class Series(Signal):
    """By how much the next week differs from the last, in standard deviations of its window."""

    name, objective = "series", regression()

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 26, 1]."""
        return torch.from_numpy(rows["weeks"])[:, :, None]

    def targets(self, rows: Rows) -> Tensor:
        """[N, 1]."""
        return torch.from_numpy(rows["change"])[:, None]

    def build_teacher(self) -> nn.Module:
        """13,000 parameters."""
        return Recurrent(64)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Recurrent(student_setting(config, "widths", (24,))[0])


def windows() -> pd.DataFrame:
    """Every half year of the series, about 0 with a spread of 1; the quarter it ends in, and how far the next week is from its end."""
    series = co2.load_pandas().data["co2"].interpolate()
    values = series.to_numpy(np.float64)
    found = np.lib.stride_tricks.sliding_window_view(values, WEEKS)[:-1]
    scale = found.std(1)
    rows: NDArray[Any] = ((found - found.mean(1, keepdims=True)) / scale[:, None]).astype(np.float32)
    months = series.index.month.to_numpy()[WEEKS - 1 : -1]
    change = ((values[WEEKS:] - values[WEEKS - 1 : -1]) / scale).astype(np.float32)
    return pd.DataFrame({"weeks": list(rows), "quarter": months % 12 // 3, "change": change})


def in_order_of_time(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The splits one after another, without the windows that reach over two."""
    ends = np.round(np.cumsum(list(SHARES.values())) * len(table)).astype(int)
    starts = [0, *(end + WEEKS for end in ends[:-1])]
    return {split: table.iloc[start:end].reset_index(drop=True) for split, start, end in zip(SHARES, starts, ends, strict=True)}
