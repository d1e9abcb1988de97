"""Workloads: a model family with its data and metrics; bundled ones, entry points and plain files."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from slimline.errors import WorkloadError
from slimline.workloads.border import theirs
from slimline.workloads.guarded import guarded
from slimline.workloads.known import BUNDLED, known_workloads, locate_workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Generator, Tensor, nn

__all__ = ["BUNDLED", "SPLITS", "Workload", "get_workload", "known_workloads", "locate_workload"]

SPLITS = ("train", "validation", "calibration", "test")


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


def get_workload(name: str, root: Path = Path()) -> Workload:
    """Import and make a workload, a known name or `path/to/file.py:ClassName`; whatever its members raise is told as theirs.

    Raises:
        WorkloadError: it is unknown, does not import, or breaks the Protocol.
    """
    module_name, _, attribute = locate_workload(name, root).rpartition(":")
    with theirs(name, "importing it"):
        module = _module_of_file(root / module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
        built_by = getattr(module, attribute, None)
        made = None if built_by is None else built_by()
    if built_by is None:
        raise WorkloadError(f"params.yaml: workload: {module_name} has no class {attribute!r} (given: {name!r})")
    return guarded(name, made)


def _module_of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"slimline_workload_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
