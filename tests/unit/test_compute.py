"""Parameters, non-zeros and MACs against counts by hand."""

import torch
from torch import nn

from slimline.measure.compute import Compute, count
from slimline.workloads import get_workload


def test_a_linear_layer() -> None:
    assert count(nn.Linear(30, 7), {"input": torch.ones(5, 30)}) == Compute(parameters=217, nonzero=217, macs=210)


def test_convolutions_grouped_and_strided() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8, bias=False))
    found = count(model, {"input": torch.randn(2, 4, 9, 9)})
    assert found.macs == 8 * 4 * 9 * 25 + 8 * 9 * 9
    assert found.parameters == 8 * 4 * 9 + 8 * 9


def test_zeros_are_no_parameters_saved_and_no_work_saved() -> None:
    model = nn.Linear(10, 10, bias=False)
    with torch.no_grad():
        model.weight[:8] = 0
    assert count(model, {"input": torch.ones(1, 10)}) == Compute(parameters=100, nonzero=20, macs=100)


def test_a_model_in_training_is_counted_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count(model, {"input": torch.ones(2, 4)}).macs == 16
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_tabular_teacher() -> None:
    workload = get_workload("tabular")
    found = count(workload.build_teacher(), {"input": torch.zeros(2, 30)})
    assert found.macs == 30 * 512 + 512 * 512 + 512 * 256 + 256 * 2
