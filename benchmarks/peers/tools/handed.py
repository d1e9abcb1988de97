"""What benchmarks/peers.py hands to a tool: the teacher as a float32 ONNX graph, samples, and how the metric is read. Every tool is

    python tools/NAME.py HANDOVER OUT

and writes what it made into OUT: model.onnx, or model.xml and model.bin, or batchN/model.pt2, and made.json.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Handed:
    """A handover: `folder` holds teacher.onnx, calibration.npz, validation.npz and facts.json; the tool writes into `out`."""

    folder: Path
    out: Path

    @property
    def teacher(self) -> Path:
        """The float32 graph, any number of samples."""
        return self.folder / "teacher.onnx"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """project, workload, metric, max_drop, relative, seed, batch_sizes, learning_rate, epochs."""
        found: dict[str, Any] = json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def calibration(self) -> Arrays:
        """Inputs by name, each [N, …]."""
        return _read(self.folder / "calibration.npz")

    @cached_property
    def validation(self) -> Arrays:
        """Inputs by name, each [N, …]."""
        return _read(self.folder / "validation.npz")

    def singly(self) -> Iterator[Arrays]:
        """The calibration samples, one at a time: what the tools' examples feed."""
        count = len(next(iter(self.calibration.values())))
        for row in range(count):
            yield {name: values[row : row + 1] for name, values in self.calibration.items()}

    def made(self, *packages: str, **told: Any) -> None:
        """Note what made it and how it was asked."""
        facts = {"versions": {name: version(name) for name in packages}, "told": told}
        (self.out / "made.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def handed() -> Handed:
    """From the command line; the process goes where the project is, so that its workload is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("handover", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    found = Handed(arguments.handover.resolve(), arguments.out.resolve())
    found.out.mkdir(parents=True, exist_ok=True)
    os.chdir(found.facts["project"])
    sys.path.insert(0, found.facts["library"])
    return found


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)
