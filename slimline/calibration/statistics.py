"""Per-layer statistics of what goes into every Linear, convolution, LSTM and GRU while calibration samples run through a model."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slimline.artifact.border import told_as
from slimline.artifact.folder import write_json
from slimline.artifact.json_file import read_json
from slimline.artifact.weights import read_weights, write_weights
from slimline.data.batch import Batch, count, moved, split
from slimline.data.padding import without_padding
from slimline.errors import ArtifactError, StageError
from slimline.methods.layer_calls import WATCHED, note_inputs
from slimline.training.device import CPU, any_kernel, device_under

RECURRENT_TYPES = (nn.LSTM, nn.GRU)
BINS = 2048
PERCENTILES = (0.01, 0.1, 1.0, 50.0, 99.0, 99.9, 99.99)
MAX_MOMENT_FEATURES = 4096
TENSOR_FIELDS = ("histogram", "batch_minimums", "batch_maximums", "second_moment")
STATISTICS, TENSORS = "statistics.json", "statistics.safetensors"


@dataclass(frozen=True)
class LayerStatistics:
    """The input of one layer over all calibration samples.

    `histogram` counts the values in 2048 equal bins from `minimum` to `maximum`, int64 [2048]. `second_moment` is E[x x^T]
    over samples and positions, float32 [inputs, inputs]; it exists for Linear and 1x1 convolutions of at most 4096 inputs.
    `batch_minimums` and `batch_maximums` are the ends of each batch (of each run, where a layer runs more than once in it),
    float32 [batches].
    """

    type: str
    minimum: float
    maximum: float
    values: int
    histogram: Tensor
    batch_minimums: Tensor
    batch_maximums: Tensor
    second_moment: Tensor | None = None

    @property
    def edges(self) -> np.ndarray:
        """The borders of the histogram's bins, float64 [2049]."""
        return np.histogram_bin_edges(np.empty(0), BINS, (self.minimum, self.maximum))

    def percentile(self, percent: float) -> float:
        """The value below which `percent` of all values lie (0 to 100), to one bin, a 2048th of the range."""
        cumulative = np.concatenate(([0], np.cumsum(self.histogram.numpy()))) / self.values * 100
        value = float(np.interp(percent, cumulative, self.edges))
        return min(max(value, self.minimum), self.maximum)

    @property
    def percentiles(self) -> dict[str, float]:
        """The usual ones, by their name: "0.01" … "99.99"."""
        return {f"{percent:g}": self.percentile(percent) for percent in PERCENTILES}


@dataclass(frozen=True)
class CalibrationStatistics:
    """Statistics of every layer that ran (module name -> statistics), and how much really ran."""

    layers: dict[str, LayerStatistics]
    batches_run: int
    samples_run: int
    batch_size: int


@dataclass
class _Record:
    minimums: list[float] = field(default_factory=list)
    maximums: list[float] = field(default_factory=list)
    values: int = 0
    rows: int = 0
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    moment: Tensor | None = None

    @property
    def range(self) -> tuple[float, float]:
        return min(self.minimums), max(self.maximums)


def collect_statistics(model: nn.Module, inputs: Batch, batch_size: int, device: torch.device = CPU) -> CalibrationStatistics:
    """Run `inputs` through a copy of the model on a device in batches, twice: for the ranges, then for what lies between them.

    Raises:
        StageError: there are no samples, or a layer receives values that are not finite; the message names it.
    """
    if count(inputs) == 0:
        raise StageError("calibration: no samples to run; raise data.calibration_samples in params.yaml")
    twin = copy.deepcopy(model).eval().to(device)
    layers: dict[str, nn.Module] = {name: module for name, module in twin.named_modules() if isinstance(module, WATCHED)}
    records: dict[str, _Record] = {name: _Record() for name in layers}
    batches = _run(twin, layers, inputs, batch_size, lambda name, _, x: _note_range(name, records[name], x))
    _run(twin, layers, inputs, batch_size, lambda name, layer, x: _note_values(records[name], layer, x))
    reached = {name: _finished(type(layers[name]).__name__, record) for name, record in records.items() if record.values}
    return CalibrationStatistics(reached, batches, count(inputs), batch_size)


def save_statistics(folder: Path, statistics: CalibrationStatistics) -> None:
    """Write statistics.json (readable) and statistics.safetensors (histograms and second moments) into a folder."""
    tensors = {f"{name}:{key}": getattr(layer, key) for name, layer in statistics.layers.items() for key in TENSOR_FIELDS}
    write_weights(folder / TENSORS, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    write_json(folder / STATISTICS, statistics_summary(statistics))


def statistics_summary(statistics: CalibrationStatistics) -> dict[str, Any]:
    """The statistics as plain data, without histograms and second moments."""
    plain = {
        name: {"type": x.type, "minimum": x.minimum, "maximum": x.maximum, "values": x.values, "percentiles": x.percentiles}
        for name, x in statistics.layers.items()
    }
    counts = {"batches_run": statistics.batches_run, "samples_run": statistics.samples_run, "batch_size": statistics.batch_size}
    return counts | {"order": list(plain), "layers": plain}


def load_statistics(folder: Path) -> CalibrationStatistics:
    """Read back what `save_statistics` wrote.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    plain, tensors = read_json(folder / STATISTICS), read_weights(folder / TENSORS)
    with told_as(
        lambda reason: ArtifactError(f"{folder / STATISTICS}: is damaged: {reason}; calibrate again (dvc repro --force calibrate)")
    ):
        layers = {name: _loaded(name, plain["layers"][name], tensors) for name in plain["order"]}
        return CalibrationStatistics(layers, plain["batches_run"], plain["samples_run"], plain["batch_size"])


def _loaded(name: str, plain: dict[str, Any], tensors: dict[str, Tensor]) -> LayerStatistics:
    numbers = {key: plain[key] for key in ("type", "minimum", "maximum", "values")}
    values: dict[str, Any] = {key: tensors[f"{name}:{key}"] for key in TENSOR_FIELDS if f"{name}:{key}" in tensors}
    return LayerStatistics(**numbers, **values)


def _run(
    model: nn.Module, layers: dict[str, nn.Module], inputs: Batch, batch_size: int, note: Callable[[str, nn.Module, Tensor], None]
) -> int:
    device, batches = device_under(model), list(split(inputs, batch_size))

    def noted(name: str, x: Tensor, there: Tensor) -> None:
        layer = layers[name]
        note(name, layer, (without_padding(x, there) if isinstance(layer, nn.Linear) else x).cpu())

    with any_kernel(device):
        note_inputs(model, layers, (moved(batch, device) for batch in batches), noted)
    return len(batches)


def _note_range(name: str, record: _Record, x: Tensor) -> None:
    if not bool(torch.isfinite(x).all()):
        raise StageError(f"calibration: layer {name!r} receives values that are not finite; look at the data and at the model's weights")
    record.minimums.append(float(x.min()))
    record.maximums.append(float(x.max()))
    record.values += x.numel()


def _note_values(record: _Record, layer: nn.Module, x: Tensor) -> None:
    counts, _ = np.histogram(x.numpy(), BINS, record.range)
    record.histogram += counts
    rows = _moment_rows(layer, x)
    if rows is not None:
        product = rows.T @ rows
        record.moment = product if record.moment is None else record.moment + product
        record.rows += len(rows)


def _moment_rows(layer: nn.Module, x: Tensor) -> Tensor | None:
    """The vectors that the layer's matrix multiplies, float64 [rows, inputs]; None where it is no plain matrix."""
    if isinstance(layer, RECURRENT_TYPES):
        return None
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        if set(layer.kernel_size) != {1} or layer.groups != 1 or layer.padding_mode != "zeros" or set(layer.padding) != {0}:
            return None
        for axis, step in enumerate(layer.stride, start=2):
            x = x.index_select(axis, torch.arange(0, x.shape[axis], step))
        x = x.movedim(1, -1)
    return None if x.shape[-1] > MAX_MOMENT_FEATURES else x.reshape(-1, x.shape[-1]).double()


def _finished(kind: str, record: _Record) -> LayerStatistics:
    moment = None if record.moment is None else (record.moment / record.rows).float()
    ends = torch.tensor(record.minimums), torch.tensor(record.maximums)
    return LayerStatistics(kind, *record.range, record.values, torch.from_numpy(record.histogram), *ends, moment)
