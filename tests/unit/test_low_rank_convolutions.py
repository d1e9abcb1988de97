"""Chains for convolutions: exact where the weight has such a structure, with any stride, padding and dilation; smaller always."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.data.calling import named
from slimline.data.padding import NO_PADDING
from slimline.errors import InputError, StageError
from slimline.measure.compute import count
from slimline.methods import get_method
from slimline.methods.factorize.budget import positions
from slimline.methods.factorize.cp import CP
from slimline.methods.factorize.decomposition import chain, decomposed
from slimline.methods.factorize.ranks import ladder
from slimline.methods.factorize.spatial_svd import SPATIAL
from slimline.methods.factorize.svd import CHANNELS
from slimline.methods.factorize.tucker import TUCKER
from slimline.methods.factorize.vbmf import vbmf_rank
from slimline.methods.factorize.whitening import NOT_WHITENED, from_moment, from_rows, input_rows
from slimline.params import CONFIGS, LowRankParams
from tests.method_data import method_data
from tests.weight_by_function import Autoencoder

GEOMETRY = {
    "strided": {"kernel_size": 3, "stride": (2, 1), "padding": 1},
    "dilated": {"kernel_size": (3, 5), "dilation": 2, "padding": (2, 3)},
    "same": {"kernel_size": (3, 4), "dilation": 2, "padding": "same"},
    "reflected": {"kernel_size": 3, "stride": 2, "padding": (2, 1), "padding_mode": "reflect"},
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_channel_rank(outputs: int, inputs: int, *kernel: int) -> Tensor:
    """A weight of rank 3 on each side of its channels."""
    core = noise(3, 3, *kernel, seed=1)
    return torch.einsum("or,rs...,si->oi...", noise(outputs, 3), core, noise(3, inputs, seed=2)) / 10


def separable(outputs: int, inputs: int, *kernel: int) -> Tensor:
    """A weight that is three vertical filters, then horizontal ones."""
    return torch.einsum("orw,rih->oihw", noise(outputs, 3, kernel[1]), noise(3, inputs, kernel[0], seed=2)) / 10


def of_three_components(outputs: int, inputs: int, *kernel: int) -> Tensor:
    """A sum of three outer products."""
    return torch.einsum("or,ir,hr,wr->oihw", *(noise(size, 3, seed=index) for index, size in enumerate((outputs, inputs, *kernel)))) / 10


def net(weight: Callable[..., Tensor], **geometry: Any) -> nn.Module:
    """One convolution of 40 x 36 channels with a bias, and ReLU."""
    layer = nn.Conv2d(36, 40, **geometry)
    with torch.no_grad():
        layer.weight.copy_(weight(*layer.weight.shape))
    return nn.Sequential(layer, nn.ReLU()).eval()


def made(method: str, model: nn.Module, inputs: Tensor, **settings: Any) -> Any:
    config = CONFIGS["factorize"][method](source="teacher", method=method, **settings)
    return get_method("factorize", method)(model, config, data=method_data(model, inputs))


@pytest.mark.parametrize("activation_aware", [True, False])
@pytest.mark.parametrize("geometry", GEOMETRY)
@pytest.mark.parametrize(
    ("method", "weight", "settings"),
    [
        ("svd", of_channel_rank, {"kernels": "all"}),
        ("spatial_svd", separable, {}),
        ("tucker", of_channel_rank, {}),
        ("cp", of_three_components, {}),
    ],
)
def test_a_weight_of_such_structure_is_kept(
    method: str, weight: Callable[..., Tensor], settings: dict[str, Any], geometry: str, activation_aware: bool
) -> None:
    model, inputs = net(weight, **GEOMETRY[geometry]), noise(6, 36, 9, 11, seed=5)
    edited = made(method, model, inputs, rank=3, activation_aware=activation_aware, **settings)
    assert len(edited.model[0]) == {"svd": 2, "spatial_svd": 2, "tucker": 3, "cp": 4}[method]
    assert (edited.model(inputs) - model(inputs)).norm() < (0.02 if method == "cp" else 1e-4) * model(inputs).norm()
    before, after = count(model, named(model, inputs)), count(edited.model, named(model, inputs))
    assert after.parameters < before.parameters / 3
    assert after.macs < before.macs


@pytest.mark.parametrize(("method", "length"), [("svd", 2), ("tucker", 3), ("cp", 3)])
def test_convolutions_of_one_axis(method: str, length: int) -> None:
    layer, inputs = nn.Conv1d(32, 48, 5, stride=2, padding=2), noise(4, 32, 20)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("or,ir,kr->oik", noise(48, 2), noise(32, 2, seed=1), noise(5, 2, seed=2)))
    model = nn.Sequential(layer)
    edited = made(method, model, inputs, rank=2, **({"kernels": "all"} if method == "svd" else {}))
    assert len(edited.model[0]) == length
    assert (edited.model(inputs) - model(inputs)).norm() < 0.01 * model(inputs).norm()


@pytest.mark.parametrize(("scheme", "ranks"), [(CHANNELS, (20,)), (SPATIAL, (20,)), (TUCKER, (24, 20))])
def test_the_energy_lost_is_what_is_really_lost(scheme: Any, ranks: tuple[int, ...]) -> None:
    layer = net(lambda *shape: noise(*shape), kernel_size=3)[0]
    one = decomposed(layer, scheme, NOT_WHITENED)
    impulses = torch.eye(36 * 9).reshape(36 * 9, 36, 3, 3)
    with torch.no_grad():
        outputs, bias = layer(impulses), layer.bias[:, None, None]
        lost = float((chain(one, ranks)(impulses) - outputs).square().sum() / (outputs - bias).square().sum())
    assert lost == pytest.approx(one.fit.lost(ranks), rel=0.1 if scheme is TUCKER else 1e-4)
    assert scheme is not TUCKER or lost <= one.fit.lost(ranks), "the iteration is no worse than the higher-order SVD"


@pytest.mark.parametrize("geometry", GEOMETRY)
def test_input_rows_are_what_the_weight_multiplies(geometry: str) -> None:
    layer, inputs = net(of_channel_rank, **GEOMETRY[geometry])[0], noise(2, 36, 9, 11)
    with torch.no_grad():
        outputs = layer(inputs)
        product = input_rows(layer, inputs, NO_PADDING) @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(product.reshape(2, -1, 40).movedim(1, 2).reshape(outputs.shape), outputs, rtol=1e-4, atol=1e-4)


def test_statistics_make_the_outputs_error_smaller_at_equal_rank() -> None:
    model = net(lambda *shape: noise(*shape), kernel_size=3, padding=1)
    inputs = torch.einsum("nrhw,ri->nihw", noise(16, 8, 6, 6), noise(8, 36, seed=1)) + 0.1 * noise(16, 36, 6, 6, seed=2)
    for method, settings in {"svd": {"kernels": "all"}, "spatial_svd": {}, "tucker": {}}.items():
        errors = [
            float((made(method, model, inputs, rank=12, activation_aware=aware, **settings).model(inputs) - model(inputs)).detach().norm())
            for aware in (True, False)
        ]
        assert errors[0] < 0.85 * errors[1], method


def test_wide_inputs_are_whitened_without_their_moment() -> None:
    rows, weight = noise(20, 50).double(), noise(7, 50, seed=1).double()
    by_rows, by_moment = from_rows(rows), from_moment(rows.T @ rows / 20)
    torch.testing.assert_close(by_rows.undone(by_rows.times(weight)), weight)
    squares = [white.times(weight) @ white.times(weight).T for white in (by_rows, by_moment)]
    torch.testing.assert_close(squares[0], squares[1])


def test_vbmf_leaves_a_layer_whole_that_it_finds_nothing_but_noise_in() -> None:
    model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    with torch.no_grad():
        model[0].weight.copy_(noise(64, 4) @ noise(4, 128) + 0.01 * noise(64, 128))
        model[2].weight.copy_(noise(10, 64))
    edited = made("svd", model, noise(32, 128), vbmf=True, activation_aware=False, round_to=1)
    assert list(edited.details["ranks"]) == ["0"]
    assert type(edited.model[2]) is nn.Linear


def test_layers_named_in_keep_stay() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    edited = made("svd", model, noise(32, 64), rank=4, keep=("2",))
    assert list(edited.details["ranks"]) == ["0"]
    assert "Left alone, named in keep: 2." in edited.notes
    with pytest.raises(InputError, match=r"factorize: keep: 'head' matches no layer"):
        made("svd", model, noise(32, 64), rank=4, keep=("head",))


def test_svd_of_convolutions_alone_says_what_takes_them() -> None:
    with pytest.raises(StageError, match="no layer for svd; set kernels: all, or use spatial_svd, tucker or cp"):
        made("svd", nn.Sequential(nn.Conv2d(3, 8, 3)), torch.randn(4, 3, 8, 8), rank=2)


def test_a_budget_for_a_model_without_such_layers_names_the_method_not_the_budget() -> None:
    with pytest.raises(StageError, match="the model has no layer for tucker"):
        made("tucker", nn.Sequential(nn.Linear(64, 64)), noise(32, 64), budget={"macs": 0.5})


def test_vbmf_finds_the_rank_below_the_noise() -> None:
    for outputs, inputs, rank, level in ((64, 288, 8, 0.1), (40, 40, 3, 0.05), (288, 64, 5, 0.0)):
        matrix = noise(outputs, rank) @ noise(rank, inputs, seed=1) / rank**0.5 + level * noise(outputs, inputs, seed=2)
        assert vbmf_rank(matrix) == rank
    assert vbmf_rank(noise(64, 128)) == 0
    assert vbmf_rank(torch.zeros(4, 4)) == 0
    weight = of_channel_rank(64, 64, 3, 3) + 0.003 * noise(64, 64, 3, 3, seed=7)
    layer = nn.Conv2d(64, 64, 3)
    with torch.no_grad():
        layer.weight.copy_(weight)
    edited = made("tucker", nn.Sequential(layer), noise(4, 64, 6, 6), vbmf=True)
    assert edited.details["ranks"] == {"0": [16, 16]}, "3 and 3, raised to multiples of 16"


class Mixed(nn.Module):
    """A stem, a grouped, a depthwise, a plain and a narrow convolution, a tied pair, an encoder layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.grouped = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1, groups=4)
        self.depthwise, self.plain = nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 64, 3, padding=1)
        self.encoder = nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)
        self.one, self.two, self.unused = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.two.weight = self.one.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 10]."""
        x = torch.relu(self.plain(self.depthwise(self.grouped(torch.relu(self.stem(x))))))
        return self.head(self.two(torch.relu(self.one(self.encoder(x.flatten(2).mT).mean(1)))))


def test_what_cannot_be_factorized_stays_and_the_page_says_why() -> None:
    model, inputs = Mixed().eval(), noise(3, 3, 4, 4)
    edited = made("tucker", model, inputs, parameter_ratio=0.3, include_linear=True)
    assert list(edited.details["ranks"]) == ["plain"]
    assert edited.notes == (
        "Left alone, fewer than 32 channels: stem, head.",
        "Left alone, grouped convolution: grouped, depthwise.",
        "Left alone, its parent reads the weight itself: encoder.linear1, encoder.linear2.",
        "Left alone, shares its weight with another layer: one, two.",
        "Left alone, does not run: unused.",
    )
    assert edited.model(inputs).shape == (3, 10)
    with pytest.raises(StageError, match="none of 2 layers gets smaller at rank 100"):
        made("spatial_svd", model, inputs, rank=100)


def test_a_layer_whose_weight_a_function_reads_too_stays() -> None:
    torch.manual_seed(0)
    model, inputs = Autoencoder().eval(), noise(5, 48)
    edited = made("svd", model, inputs, rank=8)
    assert list(edited.details["ranks"]) == ["inner"]
    assert "Left alone, its weight is read by the model itself, not by the layer alone: encoder." in edited.notes
    assert edited.model(inputs).shape == (5, 51)


@pytest.mark.parametrize("kind", ["parameters", "macs"])
def test_a_budget_is_met_and_spent_on_the_layer_that_matters(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)
    ).eval()
    with torch.no_grad():
        model[2].weight.copy_(of_channel_rank(64, 64, 3, 3) + 0.01 * model[2].weight)
    inputs = noise(16, 4, 6, 6)
    edited = made("tucker", model, inputs, budget={kind: 0.62})
    before, after = count(model, named(model, inputs)), count(edited.model, named(model, inputs))
    left = getattr(after, kind) / getattr(before, kind)
    assert 0.4 < left <= 0.62
    assert list(edited.details["ranks"]) == ["2"], "the other one is of full rank"
    assert (edited.model(inputs) - model(inputs)).norm() < 0.05 * model(inputs).norm()
    assert edited.curves[0].series["search"][0] == (1.0, 0.0)
    assert edited.notes[-1] == "Left alone, worth more than it costs: 4."
    with pytest.raises(StageError, match=rf"budget.{kind} 0.01 is out of reach: the least that these layers can leave is 0\.\d+"):
        made("tucker", model, inputs, budget={kind: 0.01})


def test_a_latency_budget_takes_the_first_step_that_is_measured_fast_enough() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)).eval(), noise(32, 64)
    asked: list[float] = []

    def latency_ms(tried: nn.Module) -> float:
        asked.append(count(tried, {"input": inputs}).macs / 1000)
        return asked[-1]

    config = CONFIGS["factorize"]["svd"](source="teacher", method="svd", budget={"latency": 0.5})
    edited = get_method("factorize", "svd")(model, config, data=method_data(model, inputs, latency_ms=latency_ms))
    left = count(edited.model, named(model, inputs)).macs / count(model, named(model, inputs)).macs
    assert 0.35 < left <= 0.5
    assert asked[0] == count(model, named(model, inputs)).macs / 1000, "the source is measured first"
    assert edited.details["left"]["latency"] == pytest.approx(left)
    assert edited.notes[0] == f"Measured anew, it takes {left:.1%} of its source's time; 50% was asked for."
    with pytest.raises(StageError, match=r"budget\.latency needs a stage that measures latency"):
        get_method("factorize", "svd")(model, config, data=method_data(model, inputs))
    hopeless = method_data(model, inputs, latency_ms=lambda _: 1.0)
    with pytest.raises(StageError, match=r"budget\.latency 0\.5 is out of reach: .* 1\.000"):
        get_method("factorize", "svd")(model, config, data=hopeless)


def test_ladders_hold_what_saves_and_no_rank_that_adds_nothing() -> None:
    layer = nn.Conv2d(32, 64, 3)
    assert ladder(decomposed(layer, CHANNELS, NOT_WHITENED), 16) == ((16,), (32,), (48,))
    assert ladder(decomposed(layer, CP, NOT_WHITENED), 16, sparse=True) == ((16,), (32,), (64,))
    pairs = ladder(decomposed(nn.Conv2d(64, 64, 2, bias=False), TUCKER, NOT_WHITENED), 8)
    assert {(8, 32), (32, 8), (16, 56)} <= set(pairs)
    assert not {(8, 40), (40, 8)} & set(pairs), "a 2x2 kernel of 8 channels has 32 products"


def test_positions_count_how_often_a_weight_is_used() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, stride=2, padding=1)).to("meta")
    assert positions(layers, [(4, 6, 6), (4, 6, 6)]) == (72, 18)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("tucker", {}, "give exactly one of rank, energy, parameter_ratio, budget, vbmf"),
        ("svd", {"rank": 4, "vbmf": True}, "give exactly one of rank"),
        ("tucker", {"budget": {"parameters": 0.5, "macs": 0.5}}, "give exactly one of parameters, macs, latency"),
        ("cp", {"vbmf": True}, "cp has no vbmf"),
    ],
)
def test_configs_that_contradict_themselves(method: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CONFIGS["factorize"][method](source="teacher", method=method, **settings)


def test_every_low_rank_config_says_what_it_asks_for() -> None:
    for amount in ({"rank": 4}, {"energy": 0.9}, {"parameter_ratio": 0.3}, {"vbmf": True}, {"budget": {"latency": 0.5}}):
        config = CONFIGS["factorize"]["tucker"](source="teacher", method="tucker", **amount)
        assert isinstance(config, LowRankParams)
        assert config.asked.endswith(".")
        assert not config.idle
