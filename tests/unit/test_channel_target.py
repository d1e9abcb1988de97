"""How many channels stay: global ranks with floors, sensitivity, thresholds, and budgets that are met by as little as possible."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from slimline.errors import InputError, ParamsError, StageError
from slimline.measure.compute import count
from slimline.methods.prune.channel_target import least_ratio
from slimline.methods.prune.channels import channels
from slimline.params import ChannelsParams, Params
from slimline.training.checkpoints import Checkpoints, round_name
from tests.method_data import method_data

EXAMPLE = {"input": torch.zeros(2, 1, 8, 8)}
INPUTS, TARGETS = {"input": torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))}, torch.arange(32) % 3
DATA = method_data(nn.Sequential(), INPUTS, TARGETS)
FEW = {"epochs": 1, "batch_size": 16}


def config(**more: object) -> ChannelsParams:
    return ChannelsParams(**{"source": "teacher", "method": "channels", "round_to": 1, **more})


@pytest.fixture
def net() -> nn.Sequential:
    """Groups of 16, 24 and 32 channels."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


def widths(model: nn.Module) -> list[int]:
    return [len(layer.weight) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize(("amount", "share"), [("parameters", 0.4), ("macs", 0.25), ("parameters", 0.7)])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_budget_is_met_and_no_more_is_taken_than_that_needs(net: nn.Module, amount: str, share: float, scope: str) -> None:
    made = channels(net, config(**{amount: share}, scope=scope), data=DATA)
    left = getattr(count(made.model, EXAMPLE), amount) / getattr(count(net, EXAMPLE), amount)
    assert 0.85 * share < left <= share
    assert made.details["left"][amount] == pytest.approx(left)


def test_a_latency_budget_asks_the_clock_about_models_that_are_really_cut(net: nn.Module) -> None:
    def latency_ms(model: nn.Module) -> float:
        return 0.1 + sum(widths(model)[:-1]) / 72

    data = method_data(net, INPUTS, TARGETS, latency_ms=latency_ms)
    made = channels(net, config(latency=0.5, round_to=4), data=data)
    assert widths(made.model)[:-1] == [8, 12, 12], "0.1 + 32/72 of 1.1: with 36 channels it would be 0.6 of 1.1"
    assert made.details["left"]["latency"] == pytest.approx((0.1 + 32 / 72) / 1.1)
    assert made.notes == ("Measured anew on ONNX Runtime (float32, one thread, one sample): 49.5% of the source's time is left.",)


def test_nothing_is_measured_unless_a_latency_is_asked_for(net: nn.Module) -> None:
    def never(_model: nn.Module) -> float:
        raise AssertionError

    data = method_data(net, INPUTS, TARGETS, latency_ms=never)
    assert widths(channels(net, config(macs=0.5), data=data).model) < widths(net)


def test_a_budget_out_of_reach_says_what_is_possible(net: nn.Module) -> None:
    with pytest.raises(StageError, match=r"no less than \d+\.\d% of the parameters, 10% is asked; lower round_to or floor"):
        channels(net, config(parameters=0.1, floor=0.5), data=DATA)


def test_the_search_finds_the_least_ratio_in_few_measurements() -> None:
    measured: list[int] = []

    def left(counts: Mapping[str, int]) -> float:
        measured.append(counts["a"])
        return counts["a"] / 1000

    ratio, share = least_ratio(lambda ratio: {"a": 1000 - int(1000 * ratio)}, left, 0.333, "macs")
    assert share == 0.333 or 0.332 <= share < 0.333
    assert 1000 - int(1000 * ratio) == 1000 * share
    assert len(measured) <= 13


def test_a_floor_holds_in_every_layer_and_the_others_give_the_more(net: nn.Module) -> None:
    with torch.no_grad():
        net[0].weight.mul_(1e-3)
        net[2].weight.normal_(std=1.0)
        net[2].weight[:2, :2] += 30.0  # one channel of each far above the others, so that all others rank low
    free, held = (widths(channels(net, config(ratio=0.6, scope="global", floor=floor), data=DATA).model) for floor in (0.0, 0.25))
    assert sum(free[:-1]) == sum(held[:-1]) == 29, "72 channels less 43"
    assert all(left >= least for left, least in zip(held, (4, 6, 8), strict=False))
    assert any(left < least for left, least in zip(free, (4, 6, 8), strict=False))


def test_sensitive_layers_keep_more(net: nn.Module) -> None:
    data = method_data(net, INPUTS, TARGETS, sensitivity=lambda kind: {"channels": {"0": 0.9, "2": 0.1, "6": 0.1}}[kind])
    left = widths(channels(net, config(ratio=0.5, scope="sensitivity"), data=data).model)
    assert left[0] > 10
    assert left[1] < 12
    assert 35 <= sum(left[:-1]) <= 37


def test_a_threshold_takes_what_scores_below_it(net: nn.Module) -> None:
    with torch.no_grad():
        net[6].weight[:10] *= 1e-3
        net[6].bias[:10] *= 1e-3
        net[8].weight[:, :10] *= 1e-3
    pruned = channels(net, config(threshold=0.01, criterion="l2"), data=DATA).model
    assert widths(pruned) == [16, 24, 22, 3]
    torch.testing.assert_close(pruned(**EXAMPLE), net(**EXAMPLE), rtol=1e-3, atol=1e-3)


def test_a_threshold_that_empties_a_layer_needs_a_floor(net: nn.Module) -> None:
    with pytest.raises(StageError, match=r"threshold 50 takes all channels of .* lower it, or set floor"):
        channels(net, config(threshold=50.0, criterion="l2"), data=DATA)
    assert min(widths(channels(net, config(threshold=50.0, criterion="l2", floor=0.25), data=DATA).model)[:-1]) >= 4


def test_only_and_keep_name_layers(net: nn.Module) -> None:
    assert widths(channels(net, config(ratio=0.5, only=("0", "6")), data=DATA).model) == [8, 24, 16, 3]
    kept = channels(net, config(ratio=0.5, keep=("[06]",)), data=DATA)
    assert widths(kept.model) == [16, 12, 32, 3]
    assert {row[0]: row[3] for row in kept.listings[0].rows} == {"6": "named in keep", "2": "", "0": "named in keep"}
    with pytest.raises(InputError, match="prune: keep: 'stem' matches no layer; there are: 0, 2, 6, 8"):
        channels(net, config(ratio=0.5, keep=("stem",)), data=DATA)
    with pytest.raises(StageError, match="found none to remove in this model"):
        channels(net, config(ratio=0.5, keep=("*",)), data=DATA)


class Kept(Checkpoints):
    """Finished rounds in memory; the run stops when `last` is done."""

    def __init__(self, last: int) -> None:
        super().__init__(math.inf)
        self.last, self.files = last, dict[str, Mapping[str, Tensor]]()

    def load(self, name: str) -> Mapping[str, Tensor] | None:
        return self.files.get(name)

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self.files[name] = {part: value.clone() for part, value in tensors.items()}
        if name == round_name(self.last):
            raise InterruptedError


@pytest.mark.parametrize("kind", ["iterative", "agp"])
def test_rounds_end_where_one_shot_would_and_go_on_after_a_stop(net: nn.Module, kind: str) -> None:
    wanted = config(ratio=0.5, round_to=4, schedule={"kind": kind, "rounds": 3, "epochs": 1}, recover=FEW)
    through = channels(net, wanted, data=DATA)
    assert widths(through.model) == widths(channels(net, config(ratio=0.5, round_to=4), data=DATA).model) == [8, 12, 16, 3]
    assert len(through.history.epochs) == 3
    rounds = Kept(last=2)
    data = method_data(net, INPUTS, TARGETS, checkpoints=rounds)
    with pytest.raises(InterruptedError):
        channels(net, wanted, data=data)
    again = channels(net, wanted, data=data)
    assert sorted(rounds.files) == ["round-001", "round-002", "round-003"]
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in through.model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give exactly one of ratio, threshold, parameters, macs, latency"),
        ({"ratio": 0.5, "macs": 0.5}, "give exactly one of ratio, threshold, parameters, macs, latency, not 2"),
        ({"ratio": 0.5, "criterion": "lamp"}, "criterion lamp compares channels of different layers; set scope: global"),
        ({"threshold": 0.5, "criterion": "random"}, "a threshold goes with criterion l1, l2, batchnorm_scale or taylor"),
        ({"latency": 0.5, "schedule": {"kind": "agp", "rounds": 2}}, "schedule agp goes with ratio, parameters or macs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(settings: dict[str, object], message: str) -> None:
    section = {"narrow": {"source": "teacher", "method": "channels", **settings}}
    with pytest.raises(ParamsError, match=message):
        Params.parse({"workload": "digits", "prune": section, "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}})
