"""Dropping residual blocks: which modules count as one, and that the dispensable ones go."""

import math

import pytest
import torch
from torch import Tensor, nn

from slimline.data.calling import named
from slimline.errors import InputError, StageError
from slimline.methods.prune.depth import depth
from slimline.methods.prune.residual_blocks import block_influence, residual_blocks, without_blocks
from slimline.params import DepthParams
from slimline.workloads.digits import ResidualDigits
from tests.method_data import method_data
from tests.small_nets import seeded

IMAGES = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(1))
POINTS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [-1.0, 2.0]])


def config(**settings: object) -> DepthParams:
    return DepthParams(**{"source": "teacher", "method": "depth", **settings})


class Adds(nn.Module):
    """x + W x, or with an activation around W."""

    def __init__(self, matrix: list[list[float]], *, relu: bool = False) -> None:
        super().__init__()
        self.layer, self.relu = nn.Linear(2, 2, bias=False), relu
        self.layer.weight = nn.Parameter(torch.tensor(matrix))

    def forward(self, x: Tensor) -> Tensor:
        change = self.layer(x)
        return x + (torch.relu(change) if self.relu else change)


class Odd(nn.Module):
    """One module for each question."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.inner, self.norm = kind, nn.Linear(4, 4), nn.LayerNorm(4)
        self.place = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor | tuple[Tensor, int]:
        change = scale * self.inner(x)
        if self.kind == "in place":
            x += change
            return x
        return {
            "norm first": lambda: x + self.inner(self.norm(x)),
            "norm last": lambda: self.norm(x + change),
            "activation last": lambda: torch.relu(change + x),
            "plain": lambda: torch.relu(change),
            "gate": lambda: x * torch.sigmoid(change),
            "adds a place": lambda: self.inner(x + self.place),
            "more than one output": lambda: (x + change, 1),
            "other features": lambda: (x + change)[:, :3],
        }[self.kind]()


class Around(nn.Module):
    """Something in the middle of a model."""

    def __init__(self, middle: nn.Module, features: int) -> None:
        super().__init__()
        self.before, self.middle, self.after = nn.Linear(4, 4), middle, nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.before(x))
        return self.after(x[0] if isinstance(x, tuple) else x)


@pytest.mark.parametrize(
    ("kind", "residual"),
    [
        ("norm first", True),
        ("norm last", True),
        ("activation last", True),
        ("in place", True),
        ("plain", False),
        ("gate", False),
        ("adds a place", False),
        ("more than one output", False),
        ("other features", False),
    ],
)
def test_what_a_residual_block_is(kind: str, residual: bool) -> None:
    model = Around(Odd(kind), 3 if kind == "other features" else 4)
    assert residual_blocks(model, {"x": torch.randn(2, 4)}) == (("middle",) if residual else ())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_the_innermost_blocks_of_known_models_in_order() -> None:
    assert residual_blocks(ResidualDigits(), named(ResidualDigits(), torch.randn(2, 1, 8, 8))) == ("blocks.0", "blocks.2")
    assert residual_blocks(seeded("encoder", 32), {"x": IMAGES[:2]}) == ("encoder.layers.0", "encoder.layers.1")
    nested = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Odd("norm first"), Odd("norm last")), Odd("plain"))
    assert residual_blocks(nested, {"input": torch.randn(2, 4)}) == ("1.0", "1.1")


@pytest.mark.parametrize("criterion", ["output_change", "block_influence"])
def test_a_block_that_does_nothing_goes_first_and_the_outputs_stay(criterion: str) -> None:
    model = seeded("blocks", 8).eval()
    nn.init.zeros_(model.blocks[1].norm.weight)
    made = depth(model, config(blocks=1, criterion=criterion), data=method_data(model, IMAGES))
    assert made.details == {"blocks": 3, "dropped": ["blocks.1"]}
    scores = {row[0]: row[1] for row in made.listings[0].rows}
    assert scores["blocks.1"] == pytest.approx(0, abs=1e-6)
    assert min(scores["blocks.0"], scores["blocks.2"]) > 1e-3
    torch.testing.assert_close(made.model(IMAGES), model(IMAGES))
    assert next(made.model.blocks[1].parameters(), None) is None


def test_the_influence_of_a_block_is_the_angle_by_which_it_turns() -> None:
    stretch, turn = Adds([[1.0, 0.0], [0.0, 1.0]]), Adds([[-1.0, -1.0], [1.0, -1.0]])
    model = nn.Sequential(stretch, turn, Adds([[0.0, 1.0], [-1.0, 0.0]]))
    found = block_influence(model, ("0", "1", "2"), {"input": POINTS})
    assert found == pytest.approx({"0": 0.0, "1": 1.0, "2": 1 - math.sqrt(0.5)}, abs=1e-6)


def test_scoring_anew_sees_that_one_of_two_equal_blocks_has_to_stay() -> None:
    """Two blocks cut what is negative: either alone can go for nothing, both together cannot, and then a weak one is better."""
    cuts = [[-1.0, 0.0], [0.0, -1.0]]
    model = nn.Sequential(Adds(cuts, relu=True), Adds([[0.01, 0.0], [0.0, 0.01]]), Adds(cuts, relu=True))
    data = method_data(model, torch.randn(64, 2, generator=torch.Generator().manual_seed(0)))
    assert depth(model, config(blocks=2), data=data).details["dropped"] == ["2", "1"]
    assert depth(model, config(blocks=2, rescore=False), data=data).details["dropped"] == ["2", "0"]


def test_a_ratio_is_of_the_blocks_that_can_go() -> None:
    model, data = seeded("blocks", 8).eval(), method_data(seeded("blocks", 8), IMAGES)
    assert len(depth(model, config(ratio=0.6), data=data).details["dropped"]) == 2
    assert len(depth(model, config(ratio=0.1), data=data).details["dropped"]) == 1
    kept = depth(model, config(ratio=0.9, keep=("blocks.[02]",), criterion="random"), data=data)
    assert kept.details["dropped"] == ["blocks.1"]
    assert [row[2] for row in kept.listings[0].rows] == ["named in keep", 1, "named in keep"]


def test_what_cannot_be_is_said() -> None:
    model, data = seeded("blocks", 8).eval(), method_data(seeded("blocks", 8), IMAGES)
    with pytest.raises(StageError, match="has 3 residual blocks, of which 2 can go, not 3"):
        depth(model, config(blocks=3), data=data)
    with pytest.raises(StageError, match="has no residual block"):
        depth(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), config(ratio=0.5), data=method_data(nn.Sequential(), IMAGES))
    with pytest.raises(InputError, match=r"keep: 'layers\.\*' matches no residual block; there are: blocks.0, blocks.1"):
        depth(model, config(blocks=1, keep=("layers.*",)), data=data)
    with pytest.raises(StageError, match="would leave 'encoder' without a layer"):
        without_blocks(seeded("encoder", 32), ("encoder.layers.0", "encoder.layers.1"), {})


def test_layers_of_torchs_own_encoder_move_up() -> None:
    model = seeded("encoder", 32).eval()
    nn.init.normal_(model.encoder.layers[1].linear1.weight)
    made = depth(model, config(blocks=1, keep=("*.1",)), data=method_data(model, IMAGES))
    assert made.model.encoder.num_layers == len(made.model.encoder.layers) == 1
    assert torch.equal(made.model.encoder.layers[0].linear1.weight, model.encoder.layers[1].linear1.weight)
    assert made.notes == (
        "The layers of encoder.layers behind a dropped one move up: the table of layers compares them by their new number.",
    )


def test_a_block_with_options_is_skipped_too() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.ModuleList([Odd("norm last"), Odd("norm last")]), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.body:
                x = block(x, scale=2.0)
            return self.head(x)

    points = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    made = depth(Scaled(), config(blocks=1), data=method_data(Scaled(), points)).model
    assert made(points).shape == (8, 2)
    assert len(list(made.parameters())) < len(list(Scaled().parameters()))
