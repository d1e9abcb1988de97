"""`tabular`: scikit-learn's breast cancer table (569 rows, 30 measurements), with an MLP as teacher."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from slimline.data.columns import Rows, stacked
from slimline.objectives.classification import classification
from slimline.workloads.cut import cut_table, student_setting

if TYPE_CHECKING:
    import pandas as pd

FEATURES = 30
SHOWN = ("mean radius", "mean texture", "mean concavity", "worst radius", "worst concave points")


def dense(widths: tuple[int, ...], classes: int) -> nn.Sequential:
    """Linear layers with batch norm and ReLU, of the given widths, and a Linear head."""
    layers: list[nn.Module] = [nn.BatchNorm1d(widths[0])]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


class Tabular:
    """Malignant or benign, from 30 measurements of cell nuclei."""

    name = "tabular"
    objective = classification(("malignant", "benign"))

    def splits(self, options: Mapping[str, Any], seed: int) -> "dict[str, pd.DataFrame]":
        """The 569 rows, cut and stratified."""
        from sklearn.datasets import load_breast_cancer

        data = load_breast_cancer(as_frame=True)
        table = data.data.astype("float32").assign(label=data.target.astype("int64"))
        return cut_table(table, options, seed)

    def build_teacher(self) -> nn.Module:
        """An MLP 30-512-512-256-2: 0.4 M parameters."""
        return dense((FEATURES, 512, 512, 256), len(self.objective.labels))

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """An MLP whose hidden layers are `widths`."""
        return dense((FEATURES, *student_setting(config, "widths", (32, 16))), len(self.objective.labels))

    def inputs(self, rows: Rows) -> Tensor:
        """Measurements [N, 30] as log(1 + x); the first batch norm scales them."""
        return torch.from_numpy(np.log1p(stacked(rows, [name for name in rows if name != "label"])))

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Each measurement off by about one part in a hundred."""
        return inputs * (1 + 0.01 * torch.randn(inputs.shape, generator=generator))

    def show(self, row: Mapping[str, Any]) -> str:
        """The telling measurements as a small table."""
        cells = "".join(f"<tr><th>{name}</th><td>{row[name]:.4g}</td></tr>" for name in SHOWN)
        return f'<table class="sample">{cells}</table>'
