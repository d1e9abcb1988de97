"""Every method that keeps the model a float one takes several named inputs of any type, and outputs by name."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.structure import replay, structure_edits
from slimline.calibration.look import look
from slimline.calibration.sensitivity import sensitivity
from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch, Tensors, take
from slimline.data.samples import Samples
from slimline.errors import InputError
from slimline.measure.compute import count
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of
from slimline.methods.prune.channel_removal import remove_channels, without_reading
from slimline.methods.prune.channel_trial import removable_groups
from slimline.methods.prune.probe_inputs import reaching
from slimline.methods.prune.residual_blocks import residual_blocks
from slimline.params import CONFIGS
from slimline.training.fit import predict
from tests.method_data import method_data
from tests.several_inputs import NETS, SAMPLES, inputs_of, net_of

TARGETS = torch.arange(SAMPLES) % 3
TRAINING = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
every_net = pytest.mark.parametrize("name", NETS)


def data_of(name: str) -> MethodData:
    batch = inputs_of(name)
    return method_data(
        net_of(name),
        batch,
        TARGETS,
        objective=NETS[name].objective,
        initial=lambda: net_of(name),
        collect=lambda model: collect_statistics(model, batch, 8),
    )


def same(one: Tensors, other: Tensors) -> None:
    torch.testing.assert_close(one, other)


def reloaded(model: nn.Module, name: str) -> nn.Module:
    fresh = replay(net_of(name), structure_edits(net_of(name), model))
    fresh.load_state_dict(model.state_dict(), strict=True)
    return fresh.eval()


@every_net
def test_channels_that_are_removed_are_those_that_nobody_reads(name: str) -> None:
    net, inputs = net_of(name), inputs_of(name, 1)
    groups = [group for group in removable_groups(net, take(inputs_of(name), slice(0, 2))) if not group.why_whole]
    assert {group.layer: group.channels for group in groups} == NETS[name].free
    removed = {group.layer: list(range(0, group.channels, 3)) for group in groups}
    smaller = remove_channels(net, groups, removed)
    same(smaller(**inputs), without_reading(net, groups, removed)(**inputs))
    same(reloaded(smaller, name)(**inputs), smaller(**inputs))


METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("prune", "magnitude", {"fraction": 0.5}),
    ("prune", "taylor", {"fraction": 0.8, "samples": 16, "batch_size": 4}),
    ("prune", "channels", {"ratio": 0.7, "round_to": 1, "criterion": "taylor", "samples": 16}),
    ("prune", "channels", {"parameters": 0.9, "round_to": 1}),
    ("prune", "movement", {"fraction": 0.5, "training": TRAINING}),
    ("prune", "lottery_ticket", {"rounds": 1, "fraction": 0.3, "training": TRAINING}),
    ("prune", "group_lasso", {"penalty": 1.0, "training": TRAINING}),
    ("prune", "hard_concrete", {"penalty": 1.0, "training": TRAINING}),
    ("factorize", "svd", {"parameter_ratio": 0.5, "min_channels": 1, "round_to": 1}),
    ("factorize", "svd", {"budget": {"parameters": 0.9}, "min_channels": 1, "round_to": 1}),
    ("factorize", "factorized_training", {"parameter_ratio": 0.5, "min_channels": 1, "round_to": 1, **TRAINING}),
)


@pytest.mark.parametrize(
    ("stage", "method", "settings"), METHODS, ids=[f"{method}-{next(iter(options))}" for _, method, options in METHODS]
)
@every_net
def test_methods_take_them(name: str, stage: str, method: str, settings: dict[str, Any]) -> None:
    config = CONFIGS[stage][method](source="teacher", method=method, **settings)
    made = get_method(stage, method)(net_of(name), config, data=data_of(name)).model
    inputs = inputs_of(name, 1)
    same(reloaded(made, name)(**inputs), made.eval()(**inputs))
    moved = zip(*(values.values() if not isinstance(values, Tensor) else (values,) for values in both(made, name, inputs)), strict=True)
    assert all(one.shape == other.shape and not torch.equal(one, other) for one, other in moved)


def both(made: nn.Module, name: str, inputs: Batch) -> tuple[Tensors, Tensors]:
    return predict(made, inputs), predict(net_of(name), inputs)


def test_heads_and_blocks_of_a_net_with_ids_and_a_mask_go() -> None:
    data, net = data_of("transformer"), net_of("transformer")
    for method, settings in (("heads", {"fraction": 0.5, "mlp_ratio": 0.5}), ("depth", {"blocks": 1})):
        made = get_method("prune", method)(net, CONFIGS["prune"][method](source="teacher", method=method, **settings), data=data).model
        assert count(made, data.example).macs < count(net, data.example).macs
        assert made(**inputs_of("transformer", 1)).shape == (SAMPLES, 3)
    assert residual_blocks(net, data.example) == ("blocks.0", "blocks.1")


@every_net
def test_calibration_looks_at_them(name: str) -> None:
    net, inputs = net_of(name), inputs_of(name)
    statistics = collect_statistics(net, inputs, 8)
    assert (statistics.batches_run, statistics.samples_run) == (3, SAMPLES)
    samples, objective = Samples(inputs, TARGETS), NETS[name].objective
    effects = sensitivity(net, statistics, calibration=inputs, validation=samples, objective=objective, metric="accuracy")
    assert effects.keys() == statistics.layers.keys()
    assert all(found.output_change > 0 for kinds in effects.values() for found in kinds.values() if found)
    assert look(net, net_of(name), inputs, exports=name != "pair") == ()
    assert all(uses_of(net, take(inputs, slice(0, 2))).is_read(f"{layer}.weight") for layer in effects)


def test_what_reaches_every_channel_moves_floats_alone() -> None:
    inputs = inputs_of("table")
    found = reaching(net_of("table"), inputs)
    assert torch.equal(found["town"], inputs["town"])
    assert not torch.equal(found["numbers"], inputs["numbers"])
    again = reaching(net_of("table"), inputs)
    assert torch.equal(found["numbers"], again["numbers"])
    assert (found["numbers"] - inputs["numbers"]).std() < 2 * inputs["numbers"].std(), "about as far as samples are from each other"


class Logarithm(nn.Module):
    """Takes numbers above 0 alone, and an index that came as a float."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(3, 4), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([x[:, :1].log(), self.words(x[:, 1].long())], 1))


@pytest.mark.parametrize("column", [0, 1])
def test_a_net_that_takes_no_such_numbers_is_probed_with_its_samples(column: int) -> None:
    inputs = {"x": torch.tensor([[0.01, 2.0], [0.01, 2.0]])}
    if column:
        inputs["x"][:, 0] = 1000.0
    assert torch.equal(reaching(Logarithm(), inputs)["x"], inputs["x"])


def test_a_layer_that_is_kept_is_looked_for_by_name() -> None:
    config = CONFIGS["prune"]["channels"](source="teacher", method="channels", ratio=0.5, keep=("nowhere",))
    with pytest.raises(InputError, match="matches no layer; there are: town, trade, first, second, head"):
        get_method("prune", "channels")(net_of("table"), config, data=data_of("table"))
