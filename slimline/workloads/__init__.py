"""Workloads: a model family with its data and metrics; bundled ones, entry points and plain files."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from slimline.errors import WorkloadError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Generator, Tensor, nn

BUNDLED = {
    "digits": "slimline.workloads.digits:Digits",
    "tabular": "slimline.workloads.tabular:Tabular",
}
ENTRY_POINT_GROUP = "slimline.workloads"
SPLITS = ("train", "validation", "calibration", "test")
FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a mistake in somebody's workload raises; where it is called, it is told as theirs."""


@runtime_checkable
class Workload(Protocol):
    """What Slimline needs to know of a model family.

    A table has one row a sample: the feature columns, which are numbers, and `label`, an integer class index.
    """

    name: str
    task: Literal["classification"]
    labels: tuple[str, ...]
    """Class names; a label in the table is an index into them."""
    feature_range: tuple[float, float]
    """Every feature lies in it; the data stage checks that."""

    def splits(self, sizes: Mapping[str, float], seed: int) -> "dict[str, pd.DataFrame]":
        """Tables by split name (train, validation, calibration, test), with no sample in two of them.

        `sizes` holds test_fraction, validation_fraction and calibration_samples.
        """

    def build_teacher(self) -> "nn.Module":
        """The uncompressed architecture, untrained; its last layer gives logits [N, classes]."""

    def build_student(self, config: dict[str, Any]) -> "nn.Module":
        """A smaller architecture, untrained; `config` is the `student` mapping of params.yaml."""

    def inputs(self, table: "pd.DataFrame") -> "Tensor":
        """The model's input for the rows of a table: float32 [N, …]."""

    def example_input(self) -> "Tensor":
        """A batch of two samples, float32 [2, …], for tracing shapes."""

    def augment(self, inputs: "Tensor", generator: "Generator") -> "Tensor":
        """Training inputs changed at random in ways that keep the label; return them as they are for none."""

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """The training loss, a scalar, of logits [N, classes] and class indices [N]."""

    def metrics(self, outputs: "np.ndarray", targets: "np.ndarray") -> dict[str, float]:
        """Named quality figures of logits [N, classes]; the higher the better; `accuracy` is one of them."""

    def show(self, row: Mapping[str, float]) -> str:
        """One sample as a small piece of HTML (an inline SVG, or the row's telling columns)."""


def known_workloads() -> dict[str, str]:
    """Name -> "module:Class" of the bundled and the installed ones.

    Raises:
        WorkloadError: two of them have the same name.
    """
    known = dict(BUNDLED)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in known:
            raise WorkloadError(f"workload {entry.name!r}: both {known[entry.name]} and {entry.value} claim this name; uninstall one")
        known[entry.name] = entry.value
    return known


def locate_workload(name: str, root: Path = Path()) -> str:
    """Say where a workload's class is, without importing it.

    Raises:
        WorkloadError: no such name, or no such file.
    """
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        if not (root / path).is_file():
            raise WorkloadError(f"params.yaml: workload: no file {path!r} (given: {name!r}); the path is relative to the project folder")
        if not attribute.isidentifier():
            raise WorkloadError(f"params.yaml: workload: {attribute!r} is no class name (given: {name!r}); write path/to/file.py:ClassName")
        return name
    known = known_workloads()
    if name not in known:
        raise WorkloadError(f"params.yaml: workload: unknown {name!r}; known: {', '.join(sorted(known))}, or path/to/file.py:ClassName")
    return known[name]


def get_workload(name: str, root: Path = Path()) -> Workload:
    """Import and make a workload: a known name, or `path/to/file.py:ClassName`.

    Raises:
        WorkloadError: it is unknown, does not import, or lacks a member of the Protocol.
    """
    module_name, _, attribute = locate_workload(name, root).rpartition(":")
    try:
        module = _module_of_file(root / module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
        workload: Workload = getattr(module, attribute)()
    except FOREIGN_ERRORS as error:
        raise WorkloadError(f"params.yaml: workload: {name!r} cannot be made: {told(error)}") from error
    members = {key for key, value in inspect.getmembers(Workload) if not key.startswith("_") and callable(value)}
    missing = sorted(member for member in members | {"name", "task", "labels", "feature_range"} if not hasattr(workload, member))
    if missing:
        raise WorkloadError(f"params.yaml: workload: {name!r} lacks {', '.join(missing)}; docs/add-a-workload.md shows a whole one")
    return workload


def told(error: BaseException) -> str:
    """An error of somebody's code in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def _module_of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"slimline_workload_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
