"""Batch norms vanish into the layers before them, and nothing else changes."""

import copy

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.structure import replay, structure_edits
from slimline.errors import StageError
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.workloads.digits import ResidualDigits

EXAMPLE = {"x": torch.zeros(2, 1, 8, 8)}


class Mixed(nn.Module):
    """Batch norms that can be folded (conv, depthwise, last) and that cannot (shared, after a ReLU, over a sequence)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.depthwise, self.depthwise_norm = nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6, affine=False)
        self.late_norm = nn.BatchNorm2d(6)
        self.branch, self.branch_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.twice, self.twice_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.rows, self.rows_norm = nn.Linear(36, 6), nn.BatchNorm1d(6)
        self.head, self.head_norm = nn.Linear(6, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 3]."""
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = self.late_norm(torch.relu(self.depthwise_norm(self.depthwise(x))))
        branch = self.branch(x)
        x = branch + self.branch_norm(branch)
        x = self.twice_norm(self.twice(self.twice(x)))
        x = torch.relu(self.rows_norm(self.rows(x.flatten(2))))
        return self.head_norm(self.head(x.mean(2)))


def lived(model: nn.Module) -> nn.Module:
    """Batch norms of a model that has seen data, with gammas and betas of every sign."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.2)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).eval()(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(4)))


def test_a_residual_network_loses_every_batch_norm_and_computes_the_same() -> None:
    torch.manual_seed(0)
    model = lived(ResidualDigits()).train()
    before = copy.deepcopy(model.state_dict())
    folded = fold_batchnorm(model, EXAMPLE)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(module.training for module in folded.modules())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    expected = outputs(model)
    torch.testing.assert_close(outputs(folded), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_only_what_can_be_folded_is() -> None:
    torch.manual_seed(0)
    model = lived(Mixed())
    folded = fold_batchnorm(model, EXAMPLE)
    left = {name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert left == {"late_norm", "branch_norm", "twice_norm", "rows_norm"}
    torch.testing.assert_close(outputs(folded), outputs(model), rtol=1e-5, atol=1e-5)
    assert folded.stem.bias is not None
    assert isinstance(folded.head_norm, nn.Identity)


def test_the_folded_model_is_stored_as_structure_edits() -> None:
    torch.manual_seed(0)
    model = lived(Mixed())
    folded = fold_batchnorm(model, EXAMPLE)
    again = replay(Mixed(), structure_edits(Mixed(), folded))
    again.load_state_dict(folded.state_dict(), strict=True)
    assert torch.equal(outputs(again), outputs(folded))


def test_a_model_without_batch_norm_is_copied() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    folded = fold_batchnorm(model, EXAMPLE)
    assert torch.equal(outputs(folded), outputs(model))
    assert folded[1].weight.data_ptr() != model[1].weight.data_ptr()


def test_a_model_that_cannot_be_followed_is_refused_and_left_as_it_was() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x))
            return x * 2 if float(x.sum()) > 0 else x

    model = Deciding().train()
    with pytest.raises(StageError, match=r"torch\.export cannot follow Deciding"):
        fold_batchnorm(model, EXAMPLE)
    assert model.training
