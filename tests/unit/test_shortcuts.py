"""Convolutions that read one tensor, each in its own way, as a residual block and its shortcut do; by methods that look at inputs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.methods import get_method
from slimline.methods.blocks import blocks_of, matrix_layers
from slimline.methods.quantize.simulate import simulate
from slimline.params import AwqParams, GptqParams, SmoothquantParams, SparsegptParams, WandaParams
from tests.method_data import method_data

PRUNED = {
    "wanda": WandaParams(source="teacher", method="wanda", fraction=0.5),
    "sparsegpt": SparsegptParams(source="teacher", method="sparsegpt", fraction=0.5),
}
ROUNDED = {
    "gptq": GptqParams(source="teacher", method="gptq", bits=4, group_size=32),
    "awq": AwqParams(source="teacher", method="awq", bits=4, group_size=32),
    "smoothquant": SmoothquantParams(source="teacher", method="smoothquant"),
}


class Shortcut(nn.Module):
    """[N, 8, 8, 8] -> [N, 10] by convolutions of other kernels, strides and paddings that read one tensor, and two alike."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(8, 32, 3, padding=1), nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.shortcut, self.pointwise = nn.Conv2d(32, 64, 1, stride=2), nn.Conv2d(32, 64, 1)
        self.left, self.right = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.stem(x))
        halved = torch.relu(self.wide(x) + self.shortcut(x))
        gated = torch.relu(self.left(halved)) * torch.sigmoid(self.right(halved))
        logits: Tensor = self.head(torch.cat([gated.mean((2, 3)), torch.relu(self.pointwise(x)).mean((2, 3))], dim=1))
        return logits


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Shortcut().eval()


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return {"x": torch.randn(64, 8, 8, 8, generator=torch.Generator().manual_seed(1))}


def test_layers_of_a_group_multiply_the_same_vectors(net: nn.Module, inputs: dict[str, Tensor]) -> None:
    (block,) = blocks_of(net, inputs)
    groups = block.groups()
    assert ("left", "right") in groups
    assert {name for group in groups for name in group} == matrix_layers(net).keys()
    for group in groups:
        first, *others = (block.gram(name).products for name in group)
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("method", PRUNED)
def test_every_layer_is_pruned(net: nn.Module, inputs: dict[str, Tensor], method: str) -> None:
    pruned = get_method("prune", method)(net, PRUNED[method], data=method_data(net, inputs)).model
    zeros = {name: float((layer.weight == 0).float().mean()) for name, layer in matrix_layers(pruned).items()}
    assert zeros == pytest.approx(dict.fromkeys(matrix_layers(net), 0.5), abs=0.02)


@pytest.mark.parametrize("method", ROUNDED)
def test_every_layer_is_rounded(net: nn.Module, inputs: dict[str, Tensor], method: str) -> None:
    statistics, data = collect_statistics(net, inputs, 16), method_data(net, inputs)
    made: Any = get_method("quantize", method)(net, ROUNDED[method], statistics=statistics, data=data)
    assert {entry["precision"] for entry in made.plan["layers"].values()} <= {"int4", "int8"}
    with torch.no_grad():
        found, expected = simulate(made.model, made.plan, made.grids)(**inputs), net(**inputs)
    assert (found - expected).square().mean() < 0.05 * expected.var()
