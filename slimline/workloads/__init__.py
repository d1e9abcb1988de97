"""Workloads: a model family with its data and metrics; bundled ones, entry points and plain files."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from slimline.errors import WorkloadError
from slimline.foreign import module_of_file
from slimline.workloads.border import theirs
from slimline.workloads.guarded import Guarded, guarded
from slimline.workloads.known import BUNDLED, DOORS, known_workloads, locate_workload

if TYPE_CHECKING:
    from torch import Tensor, nn

    from slimline.data.batch import Batch
    from slimline.data.columns import Rows
    from slimline.data.table import Source
    from slimline.objectives import Objective

__all__ = ["BUNDLED", "SPLITS", "Workload", "get_workload", "known_workloads", "locate_workload"]

SPLITS = ("train", "validation", "calibration", "test")


@runtime_checkable
class Workload(Protocol):
    """What Slimline needs to know of a model family: what is asked of it, its data, and how its nets are built.

    Samples have typed columns: numbers, text, arrays of numbers, pictures. Besides what stands here a workload may have

    - `build_student(config) -> nn.Module`: a smaller architecture, untrained, for the methods of `distill`; `config` is the `student`
      mapping of params.yaml.
    - `targets(rows) -> Tensor | Mapping[str, Tensor]`: what the model should give, [N, …]; by default the column `label`.
    - `augment(batch, generator) -> Batch`: training inputs changed at random in ways that keep the target; takes and gives a tensor where
      `inputs` gives one.
    - `outputs(result) -> Tensor | Mapping[str, Tensor]`: what counts of a `forward`'s result; by default the tensor, the only one in
      it, or its `logits`.
    - `show(row) -> str`: one sample as a small piece of HTML; by default its columns by their type.
    """

    name: str
    objective: "Objective"
    """What "right" means: one of slimline.objectives, or your own."""

    def splits(self, options: Mapping[str, Any], seed: int) -> "Mapping[str, Source]":
        """Samples by split name (train, validation, calibration, test), with no sample in two of them.

        Each split is a DataFrame, a `datasets.Dataset` or an iterable of dicts; `options` is the section `data` of params.yaml.
        """

    def inputs(self, rows: "Rows") -> "Tensor | Batch":
        """The model's inputs for some rows, by name, each [N, …]; a plain tensor is named after `forward`'s first parameter."""

    def build_teacher(self) -> "nn.Module":
        """The uncompressed architecture, untrained."""


def get_workload(name: str, root: Path = Path()) -> Guarded:
    """Import and make a workload, a known name or `path/to/file.py:ClassName`; whatever its members raise is told as theirs.

    Raises:
        WorkloadError: it is unknown, does not import, or breaks the Protocol.
    """
    if name in DOORS:
        from slimline.workloads.opened import opened  # with all of params.yaml, which a process that only loads a model does without

        return guarded(name, opened(name, root))
    module_name, _, attribute = locate_workload(name, root).rpartition(":")
    with theirs(name, "importing it"):
        module = (
            module_of_file(root / module_name, "slimline_workload") if module_name.endswith(".py") else importlib.import_module(module_name)
        )
        built_by = getattr(module, attribute, None)
        made = None if built_by is None else built_by()
    if built_by is None:
        raise WorkloadError(f"params.yaml: workload: {module_name} has no class {attribute!r} (given: {name!r})")
    return guarded(name, made)
