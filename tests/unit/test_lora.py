"""Low-rank updates: they bring an edited model back, merge exactly, and leave zeros, shapes and everything else alone."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.calling import called_by_name
from slimline.data.samples import Samples
from slimline.errors import ParamsError
from slimline.methods.quantize.on_grid import roundings
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.weight_only import weight_only
from slimline.objectives.classification import classification
from slimline.params import Params, QatParams, Recovery, WeightOnlyParams
from slimline.training.fit import fit, predict
from slimline.training.history import FitHistory
from slimline.training.lora import LowRankUpdate, beside, fit_updates, trained_parameters, with_updates
from slimline.training.masks import zero_masks
from tests.method_data import TEN, method_data


class Mixed(nn.Module):
    """A grouped convolution with batch norm, a recurrent layer, attention, a weight under two names, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 16, 3, padding=1, groups=2), nn.BatchNorm2d(16)
        self.rows = nn.LSTM(32, 24, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(48, 4, batch_first=True)
        self.first, self.second, self.head = nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """[N, 2, 4, 2] -> [N, 3]."""
        x = torch.relu(self.norm(self.stem(x))).permute(0, 2, 1, 3).flatten(2)
        x, _ = self.rows(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean(dim=1))


def patterns(count: int, seed: int) -> Samples:
    """Noise over three fixed patterns; the label is which."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(3, 2, 4, 2, generator=torch.Generator().manual_seed(99))
    targets = torch.randint(3, (count,), generator=generator)
    return Samples({"x": shapes[targets] + 1.2 * torch.randn(count, 2, 4, 2, generator=generator)}, targets)


TRAIN, HELD_OUT = patterns(256, 0), patterns(128, 1)
SETTINGS = {"train": TRAIN, "validation": HELD_OUT, "objective": TEN, "metric": "accuracy", "seed": 4}
LORA = Recovery(epochs=5, batch_size=32, learning_rate=0.03, lora_rank=3)


@pytest.fixture(scope="module")
def source() -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return fit(Mixed(), config=Recovery(epochs=6, batch_size=32, learning_rate=0.01), **SETTINGS)[0]


@pytest.fixture
def pruned(source: nn.Module) -> nn.Module:
    """Half of every convolution's and Linear layer's weights are zero, at random places."""
    model, generator = copy.deepcopy(source), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in (model.stem, model.first, model.head):
            layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) > 0.5)
    return model


def loss_of(model: nn.Module) -> float:
    return functional.cross_entropy(predict(model, HELD_OUT.inputs), HELD_OUT.targets).item()


def test_it_starts_as_the_model_and_trains_few_of_its_values(source: nn.Module) -> None:
    student = with_updates(source, LORA, masks={})
    assert torch.equal(predict(student, HELD_OUT.inputs), predict(source, HELD_OUT.inputs))
    updates = {id(module) for module in student.modules() if isinstance(module, LowRankUpdate)}
    assert len(updates) == 1 + 4 + 2 + 1, "stem, four matrices of the LSTM, attention's two, the shared weight once"
    trained = {
        name for name, value in student.named_parameters() if value.requires_grad and value.dim() > 1 and ".parametrizations" not in name
    }
    assert trained == {"head.weight"}, "an update of rank 3 of 3x48 would hold 153 values, it has 144"
    everything = sum(value.numel() for value in source.parameters())
    assert trained_parameters(source, LORA) < everything / 3
    assert trained_parameters(source, Recovery()) == everything


def test_recovery_by_updates_brings_back_what_pruning_took_and_keeps_every_zero(source: nn.Module, pruned: nn.Module) -> None:
    before = copy.deepcopy(pruned.state_dict())
    back, history = fit_updates(pruned, config=LORA, masks=zero_masks(pruned), **SETTINGS)
    assert history.best_epoch > 0
    assert loss_of(back) < loss_of(pruned) - 0.5 * (loss_of(pruned) - loss_of(source))
    assert loss_of(back) == pytest.approx(history.epochs[history.best_epoch - 1].validation_loss, rel=1e-5)
    for name, mask in zero_masks(pruned).items():
        assert torch.equal(back.get_parameter(name) != 0, mask), name
    assert all(torch.equal(value, before[name]) for name, value in pruned.state_dict().items())
    assert all(value.requires_grad for value in back.parameters())
    assert {type(module) for module in back.modules()} == {type(module) for module in pruned.modules()}
    assert list(back.state_dict()) == list(before)
    assert back.second.weight is back.first.weight


def test_what_was_learnt_is_of_low_rank_and_the_rest_stays() -> None:
    torch.manual_seed(1)
    raw = Mixed()
    learnt, history = fit_updates(raw, config=LORA.model_copy(update={"lora_with": ()}), **SETTINGS)
    assert history.best_epoch > 0
    change = {name: (learnt.get_parameter(name) - value).detach() for name, value in raw.named_parameters()}
    for name in ("stem.weight", "rows.weight_hh_l0", "rows.weight_ih_l0_reverse", "attention.in_proj_weight", "first.weight"):
        assert int(torch.linalg.matrix_rank(change[name].flatten(1), rtol=1e-4)) == 3, name
    assert all(not value.any() for value in change.values() if value.dim() == 1)


def test_a_weight_that_is_made_of_two_is_trained_itself() -> None:
    torch.manual_seed(2)
    layers = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 32)), nn.ReLU(), nn.Linear(32, 3))
    normed = called_by_name(layers, "x").eval()
    student = with_updates(normed, LORA, masks={})
    assert not any(isinstance(module, LowRankUpdate) for module in student.modules())
    learnt, history = fit_updates(normed, config=LORA, **SETTINGS)
    assert history.best_epoch > 0
    assert loss_of(learnt) == pytest.approx(history.epochs[history.best_epoch - 1].validation_loss, rel=1e-5)


def test_what_is_trained_beside_is_told_by_kind(source: nn.Module) -> None:
    assert beside(source, ("norms",)) == {"norm.weight", "norm.bias"}
    assert {"stem.bias", "rows.bias_hh_l0", "attention.in_proj_bias", "head.bias"} < beside(source, ("biases",))
    assert not beside(source, ("biases",)) & beside(source, ("norms",))


def test_it_repeats_and_gives_the_model_back_where_nothing_got_better(source: nn.Module) -> None:
    first, second = (fit_updates(source, config=LORA, **SETTINGS)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    wild = LORA.model_copy(update={"learning_rate": 50.0, "epochs": 1})
    same, history = fit_updates(source, config=wild, **SETTINGS)
    assert (history.best_epoch, len(history.epochs)) == (0, 1)
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in source.state_dict().items())
    assert fit_updates(source, config=LORA.model_copy(update={"epochs": 0}), **SETTINGS)[1] == FitHistory()


def test_alpha_scales_the_updates(source: nn.Module) -> None:
    scales = {}
    for alpha in (None, 6.0):
        student = with_updates(source, LORA.model_copy(update={"lora_alpha": alpha}), masks={})
        scales[alpha] = student.first.parametrizations.weight[0].scale
    assert scales == {None: 1.0, 6.0: 2.0}


def test_options_of_updates_that_nobody_asked_for_are_refused() -> None:
    variant = {"source": "teacher", "method": "svd", "rank": 4, "recover": {"lora_alpha": 8}}
    raw = {"workload": "digits", "factorize": {"thin": variant}, "deploy": {"variants": ["teacher"], "targets": ["eager"]}}
    with pytest.raises(ParamsError, match=r"factorize\.thin\.recover: .*give lora_rank too"):
        Params.parse(raw)


def test_qat_trains_updates_below_the_rounding(source: nn.Module) -> None:
    """What is saved, rounded by its plan, is what training judged: the update was merged before the rounding."""
    from slimline.methods.quantize.qat import qat
    from slimline.methods.quantize.simulate import simulate

    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    model = fit(called_by_name(layers, "x"), config=Recovery(epochs=3, batch_size=32), **SETTINGS)[0]
    data = method_data(model, TRAIN.inputs, TRAIN.targets, validation=HELD_OUT)
    config = QatParams(source="teacher", method="qat", epochs=3, batch_size=32, learning_rate=0.01, lora_rank=2)
    made = qat(model, config, statistics=data.collect(model), data=data)
    assert made.history.best_epoch > 0
    assert loss_of(simulate(made.model, made.plan)) == pytest.approx(made.history.epochs[made.history.best_epoch - 1].validation_loss)
    assert not torch.equal(made.model[3].weight, model[3].weight)
    unit = torch.exp2(torch.frexp(model[3].weight.detach().abs().amax(dim=1, keepdim=True)).exponent)
    values = torch.linalg.svdvals((made.model[3].weight - model[3].weight).detach() / unit)
    assert float(values[:2].square().sum() / values.square().sum()) > 0.9, "clipping aside, the change is of rank 2 in each channel's unit"


def test_on_a_grid_the_merged_weights_are_what_weight_only_makes_of_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)).eval()
    config = Recovery(epochs=3, batch_size=16, learning_rate=0.01, lora_rank=2, lora_grid="int4", lora_group=32)
    inputs = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    samples = Samples({"input": inputs}, (inputs.sum(1) > 0).long())
    settings = {"objective": classification(("below", "above")), "metric": "accuracy", "validation": samples}
    names = roundings(model, config)
    made, history = fit_updates(model, samples, config, rounding=names, **settings)
    assert history.best_epoch
    assert set(names) == {"0.weight", "2.weight"}
    planned = weight_only(made, WeightOnlyParams(source="teacher", method="weight_only", bits=4, group_size=32))
    rounded = simulate(planned.model, planned.plan, planned.grids)
    assert torch.allclose(rounded(inputs), made(inputs), atol=1e-5)
    plain = weight_only(model, WeightOnlyParams(source="teacher", method="weight_only", bits=4, group_size=32))
    losses = [functional.cross_entropy(net(inputs), samples.targets) for net in (made, simulate(plain.model, plain.plan, plain.grids))]
    assert losses[0] < losses[1]
