"""Two heads on one body: which digit it is, and how much ink it took, judged by an objective that reads both."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Tensors, tensors
from slimline.data.columns import Rows
from slimline.objectives import Metric, Objective
from slimline.workloads.cut import student_setting
from slimline.workloads.digits import Digits as Bundled


class DigitAndInk(Objective):
    """Outputs `digit` (logits [N, 10]) and `ink` [N]; targets by the same names."""

    name = "digit-and-ink"
    metrics: Mapping[str, Metric] = {
        "accuracy": Metric(lambda scores: float(scores["right"].mean()), share_of="right"),
        "ink_error": Metric(lambda scores: float(scores["off"].mean()), unit="ink", better="lower", mean_of="off"),
    }

    def loss(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Cross entropy of the digit, and the squared error of the ink."""
        given, asked = tensors(outputs), tensors(targets)
        return functional.cross_entropy(given["digit"], asked["digit"]) + functional.mse_loss(given["ink"], asked["ink"])

    def guidance(self, outputs: Tensors, teacher_outputs: Tensors, temperature: float) -> Tensor:
        """Divergence of the softened classes, and the squared difference of the ink."""
        given, asked = tensors(outputs), tensors(teacher_outputs)
        soft = [functional.log_softmax(each["digit"] / temperature, 1) for each in (given, asked)]
        apart = functional.kl_div(*soft, reduction="batchmean", log_target=True) * temperature**2
        return apart + functional.mse_loss(given["ink"], asked["ink"])

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, NDArray[Any]]:
        """Whether the digit is right, and how far off the ink is."""
        given, asked = tensors(outputs), tensors(targets)
        right = given["digit"].argmax(1) == asked["digit"]
        return {"error": (~right).numpy(), "right": right.long().numpy(), "off": (given["ink"] - asked["ink"]).abs().numpy()}

    def answers(self, outputs: Tensors) -> NDArray[Any]:
        """The digit."""
        return tensors(outputs)["digit"].argmax(1).numpy()


class Net(nn.Module):
    """Convolutions with a residual connection, and two heads that are given by name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.inside, self.inside_norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.out, self.out_norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.hidden, self.digit, self.ink = nn.Linear(16 * width, 2 * width), nn.Linear(2 * width, 10), nn.Linear(2 * width, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures [N, 1, 8, 8] -> `digit` [N, 10] and `ink` [N]."""
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = torch.relu(x + self.out_norm(self.out(torch.relu(self.inside_norm(self.inside(x))))))
        x = torch.relu(self.hidden(functional.max_pool2d(x, 2).flatten(1)))
        return {"digit": self.digit(x), "ink": self.ink(x)[:, 0]}


class TwoHeads:
    """scikit-learn's digits."""

    name, objective = "two-heads", DigitAndInk()

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, pd.DataFrame]:
        """Cut by digit."""
        return Bundled().splits(options, seed)

    def inputs(self, rows: Rows) -> Tensor:
        """[N, 1, 8, 8]."""
        return Bundled().inputs(rows)

    def outputs(self, result: dict[str, Tensor]) -> dict[str, Tensor]:
        """Both heads count."""
        return result

    def targets(self, rows: Rows) -> dict[str, Tensor]:
        """The digit, and the ink of its picture."""
        return {"digit": torch.as_tensor(rows["label"]), "ink": self.inputs(rows).mean((1, 2, 3))}

    def build_teacher(self) -> nn.Module:
        """0.1 M parameters."""
        return Net(40)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`."""
        return Net(student_setting(config, "widths", (12,))[0])
