"""Quantization-aware training: it wins back what static int8 lost, and what is planned is what was trained."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.calibration.statistics import collect_statistics
from slimline.data.samples import Samples
from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.qat import prepared, qat, shared_inputs
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.objectives.classification import classification
from slimline.params import QatParams, StaticParams, Training
from slimline.training.fit import fit, predict

EXAMPLE = {"x": torch.zeros(2, 1, 8, 8)}
CLASSES, WIDTH = 6, 16


class Separable(nn.Module):
    """A stem, a depthwise separable block beside a 1x1 shortcut of the same input, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH)
        self.deep, self.deep_norm = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False), nn.BatchNorm2d(WIDTH)
        self.mix, self.short = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)
        self.head = nn.Linear(WIDTH * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 6]."""
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = torch.relu(self.mix(torch.relu(self.deep_norm(self.deep(x)))) + self.short(x))
        return self.head(functional.adaptive_avg_pool2d(x, 2).flatten(1))


def strokes(count: int, seed: int) -> Samples:
    """Noisy images of a bright bar; its direction and place are the class."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(CLASSES, (count,), generator=generator)
    inputs = 0.9 * torch.randn(count, 1, 8, 8, generator=generator)
    for image, target in zip(inputs, targets.tolist(), strict=True):
        place = 1 + 2 * (target % 3)
        (image[0, place : place + 2] if target < 3 else image[0, :, place : place + 2]).add_(1.0)
    return Samples({"x": inputs}, targets)


TRAIN, HELD_OUT = strokes(512, 0), strokes(256, 1)


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float((outputs.argmax(axis=1) == targets).mean())


OBJECTIVE = classification("abcdef")
DATA = MethodData(
    calibration=TRAIN.take(slice(0, 128)).inputs,
    train=TRAIN,
    validation=HELD_OUT,
    objective=OBJECTIVE,
    metric="accuracy",
    collect=partial(collect_statistics, inputs=TRAIN.take(slice(0, 128)).inputs, batch_size=64),
    example=EXAMPLE,
    seed=5,
)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """A trained net whose depthwise channels were scaled far apart, undone by the layers after: the same function, hard for int8."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = Training(epochs=8, batch_size=32, learning_rate=0.02)
    model, _ = fit(Separable(), TRAIN, training, objective=OBJECTIVE, metric="accuracy", validation=HELD_OUT, seed=1)
    factors = torch.logspace(-2.4, 2.4, WIDTH)[torch.randperm(WIDTH, generator=torch.Generator().manual_seed(2))]
    with torch.no_grad():
        for norm, after in ((model.stem_norm, (model.deep,)), (model.deep_norm, (model.mix,))):
            norm.weight.mul_(factors)
            norm.bias.mul_(factors)
            for layer in after:
                layer.weight.div_(factors.view((WIDTH, 1, 1, 1) if layer.groups > 1 else (1, WIDTH, 1, 1)))
        model.short.weight.div_(factors.view(1, WIDTH, 1, 1))
    return model


def config(**settings: object) -> QatParams:
    return QatParams.model_validate(
        {"source": "teacher", "method": "qat", "epochs": 4, "batch_size": 32, "learning_rate": 0.02, **settings}
    )


def trained(net: nn.Module, data: MethodData = DATA, **settings: object) -> Quantized:
    return qat(net, config(**settings), statistics=data.collect(net), data=data)


@pytest.fixture(scope="module")
def learned(net: nn.Module) -> Quantized:
    return trained(net)


def reached(made: Quantized) -> float:
    return accuracy(predict(simulate(made.model, made.plan), HELD_OUT.inputs).numpy(), HELD_OUT.targets.numpy())


def test_training_wins_back_what_static_int8_lost(net: nn.Module, learned: Quantized) -> None:
    source = accuracy(predict(net, HELD_OUT.inputs).numpy(), HELD_OUT.targets.numpy())
    static_int8 = reached(trained(net, epochs=0))
    assert static_int8 < source - 0.2, "the net is not hard enough to show anything"
    assert reached(learned) > static_int8 + 0.3 * (source - static_int8)
    assert learned.plan["method"] == "qat"


def test_what_the_plan_gives_is_what_validation_judged(learned: Quantized) -> None:
    kept = learned.history.epochs[learned.history.best_epoch - 1]
    outputs = predict(simulate(learned.model, learned.plan), HELD_OUT.inputs)
    assert functional.cross_entropy(outputs, HELD_OUT.targets).item() == kept.validation_loss
    assert reached(learned) == kept.metric


@pytest.mark.parametrize("settings", [{}, {"granularity": "per-tensor", "activations": "symmetric"}, {"weight_observer": "mse"}])
def test_zero_epochs_are_static_int8_of_the_folded_net(net: nn.Module, settings: dict[str, object]) -> None:
    folded = fold_batchnorm(net, EXAMPLE)
    wanted = StaticParams.model_validate({"source": "teacher", "method": "static", **settings})
    expected = static(folded, wanted, statistics=DATA.collect(net), data=DATA)
    made = trained(net, epochs=0, **settings)
    assert made.plan["layers"] == expected.plan["layers"]
    assert all(torch.equal(value, expected.model.state_dict()[name]) for name, value in made.model.state_dict().items())
    twin = prepared(made.model, made.plan, EXAMPLE, learned=True)
    outputs, planned = predict(twin, HELD_OUT.inputs), predict(simulate(made.model, made.plan), HELD_OUT.inputs)
    assert torch.allclose(outputs, planned, rtol=0, atol=2e-7), "before the first step"  # one unit in the last place on some processors


def test_ranges_are_learned_or_stay(net: nn.Module, learned: Quantized) -> None:
    start, calibrated = trained(net, epochs=0), trained(net, ranges="calibrated", epochs=1)
    ranges = [{name: layer["input_range"] for name, layer in made.plan["layers"].items()} for made in (start, calibrated, learned)]
    for name, chosen in ranges[0].items():
        assert ranges[1][name] == pytest.approx(chosen, rel=1e-6)
        assert ranges[2][name] != pytest.approx(chosen, rel=1e-3)
    assert ranges[2]["deep"] == ranges[2]["short"], "both read the stem's output, which a runtime quantizes once"


def test_a_training_that_makes_nothing_better_gives_the_start(net: nn.Module) -> None:
    start, made = trained(net, epochs=0), trained(net, epochs=1, learning_rate=10.0)
    assert made.history.best_epoch == 0
    assert len(made.history.epochs) == 1
    assert "No epoch was better" in made.notes[-1]
    assert made.plan == start.plan
    assert all(torch.equal(value, start.model.state_dict()[name]) for name, value in made.model.state_dict().items())


def test_distillation_learns_from_the_source_alone(net: nn.Module) -> None:
    wrong = replace(DATA, train=Samples(TRAIN.inputs, TRAIN.targets.roll(1)))
    guided = trained(net, wrong, teacher_weight=1.0, epochs=2)
    assert guided.history.best_epoch > 0
    assert reached(guided) > reached(trained(net, epochs=0)), "the labels are wrong: all that it learnt is the source's"


def test_pruned_weights_stay_zero_and_kept_layers_float() -> None:
    torch.manual_seed(0)
    pruned = Separable().eval()
    masks = {
        name: torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(3)) > 0.4
        for name, layer in (("mix", pruned.mix), ("head", pruned.head))
    }
    with torch.no_grad():
        for name, mask in masks.items():
            pruned.get_submodule(name).weight.mul_(mask)
    made = trained(pruned, keep_float=("head",), epochs=2, learning_rate=0.005)
    assert made.history.best_epoch > 0
    for name, mask in masks.items():
        weight = made.model.get_submodule(name).weight
        assert bool((weight[~mask] == 0).all()), name
        assert not torch.equal(weight, pruned.get_submodule(name).weight), f"{name} was trained"
    assert made.plan["layers"]["head"]["precision"] == "float32"
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.model.modules())
    assert {type(module) for module in made.model.modules()} <= {type(module) for module in pruned.modules()} | {nn.Identity}


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(64, CLASSES)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 6]."""
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


def test_a_weight_of_two_layers_is_refused_or_kept(net: nn.Module) -> None:
    tied = Tied().eval()
    with pytest.raises(StageError, match=r"'second.weight', which is one weight with 'first.weight'; put both layers in keep_float"):
        trained(tied, epochs=1)
    made = trained(tied, epochs=1, keep_float=("first", "second"))
    assert made.model.first.weight is made.model.second.weight


class Views(nn.Module):
    """Layers that read one tensor, a view of it, and what became of it in place."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.flat, self.after = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(64, 4), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 4]."""
        x = x + 1
        y = self.flat(x.flatten(1)) + (self.query(x) * self.key(x)).sum(dim=(1, 2))[:, :4]
        return y + self.after(x.sub_(2)).sum(dim=(1, 2))[:, :4]


def test_layers_that_read_one_tensor_are_found() -> None:
    found = shared_inputs(Views().eval(), ("query", "key", "flat", "after"), EXAMPLE)
    assert found == {"query": "flat", "key": "flat", "flat": "flat", "after": "after"}


class Sequence(nn.Module):
    """An LSTM over the rows, between two Linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.rows, self.head = nn.Linear(8, 8), nn.LSTM(8, 12, batch_first=True), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 6]."""
        return self.head(self.rows(torch.relu(self.before(x.squeeze(1))))[0].mean(dim=1))


def test_a_recurrent_layer_is_rounded_in_training_and_stays(net: nn.Module) -> None:
    torch.manual_seed(0)
    model = Sequence().eval()
    made = trained(model, epochs=2)
    assert made.history.best_epoch == 2
    assert all(torch.equal(value, dict(model.rows.named_parameters())[name]) for name, value in made.model.rows.named_parameters())
    assert not torch.equal(made.model.before.weight, model.before.weight)
    outputs = predict(simulate(made.model, made.plan), HELD_OUT.inputs)
    assert functional.cross_entropy(outputs, HELD_OUT.targets).item() == pytest.approx(made.history.epochs[-1].validation_loss, abs=1e-5)
