"""Masks of pruned weights, and that training keeps them."""

import copy

import torch
from torch import nn

from slimline.data.samples import Samples
from slimline.objectives.classification import classification
from slimline.params import Training
from slimline.training.fit import fit
from slimline.training.masks import zero_masks


def test_names_only_the_weights_of_which_one_in_a_hundred_is_zero() -> None:
    net = nn.Sequential(nn.Linear(20, 10), nn.BatchNorm1d(10), nn.Linear(10, 10), nn.Linear(10, 2))
    with torch.no_grad():
        net[0].weight[0, :2] = 0  # 2 of 200: 1 %
        net[1].weight.zero_()
        net[2].weight[0, 0] = 0  # 1 of 100: 1 %
        net[3].bias.zero_()
    masks = zero_masks(net)
    assert sorted(masks) == ["0.weight", "2.weight"]
    assert int(masks["0.weight"].logical_not().sum()) == 2
    assert masks["0.weight"].shape == net[0].weight.shape


def test_a_stray_zero_is_no_pruning_and_a_lone_layer_has_a_name() -> None:
    layer = nn.Linear(50, 10)
    with torch.no_grad():
        layer.weight[0, 0] = 0
    assert zero_masks(layer) == {}
    with torch.no_grad():
        layer.weight[0].zero_()
    assert list(zero_masks(layer)) == ["weight"]


def test_training_with_masks_moves_the_others_and_keeps_the_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].weight[:, 1] = 0
    samples = Samples({"input": torch.randn(32, 4)}, torch.randint(2, (32,)))
    judged = {"objective": classification("ab"), "metric": "accuracy", "validation": samples}
    trained, _ = fit(net, samples, Training(epochs=2, batch_size=8), masks=zero_masks(net), **judged)
    assert bool((trained[0].weight[:, 1] == 0).all())
    assert not torch.equal(trained[0].weight, net[0].weight)


def test_a_few_zeros_count_where_they_were_none_before() -> None:
    torch.manual_seed(0)
    before = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))
    with torch.no_grad():
        before[0].weight[0, 0] = 0.0
    pruned = copy.deepcopy(before)
    with torch.no_grad():
        pruned[1].weight[0, :2] = 0.0
    masks = zero_masks(pruned, before=before)
    assert list(masks) == ["1.weight"], "the stray zero of the source may train"
    assert int(masks["1.weight"].logical_not().sum()) == 2
    assert zero_masks(pruned) == {}
