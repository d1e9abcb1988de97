"""Mixed precision: the layer that minds is the one that goes back, the budget is kept to, and what fails is said."""

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.compiled import CompiledManifest
from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.data.samples import Samples
from slimline.errors import InputError, ParamsError
from slimline.loaders import onnxruntime as onnxruntime_loader
from slimline.loaders import openvino as openvino_loader
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.mixed import mixed
from slimline.methods.quantize.mixed_candidates import Realised, candidates, divergence
from slimline.methods.quantize.mixed_cost import layer_macs
from slimline.methods.quantize.mixed_plan import missed
from slimline.methods.quantize.plan import layers_of_kind, planned
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.static import calibrated
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes
from slimline.params import MixedParams, Params
from slimline.report.mixed import mixed_figures, mixed_tables
from slimline.training.fit import predict
from tests.lowering import samples
from tests.method_data import TEN, method_data

SAMPLES = 64
WIDTH = 64


class Spiked(nn.Module):
    """Three Linear layers; the one in the middle reads 63 small features and one that is 1000 times as large and means nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.spiked, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 64] -> [N, 4]."""
        x = torch.tanh(self.first(x))
        scales = torch.ones(WIDTH)
        scales[0] = 1000.0
        return self.head(torch.tanh(self.spiked(x * scales)))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    net = Spiked().eval()
    with torch.no_grad():
        net.spiked.weight[:, 0] = 0.0
        for layer in (net.first, net.spiked, net.head):
            layer.weight *= 3
    return net


@functools.cache
def inputs(seed: int) -> Tensor:
    return torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(seed))


def accuracy(outputs: Any, targets: Any) -> float:
    return float((outputs.argmax(axis=1) == targets).mean())


def data_of(net: nn.Module) -> MethodData:
    """Labels are what the net itself says, so that it is right everywhere."""
    images = [named(net, inputs(seed)) for seed in range(3)]
    train, held_out = (Samples(batch, predict(net, batch).argmax(dim=1)) for batch in images[1:])
    return method_data(net, images[0], train=train, validation=held_out)


def made_of(net: nn.Module, **settings: Any) -> Quantized:
    config = MixedParams(source="teacher", method="mixed", **{"samples": SAMPLES, **settings})
    return mixed(net, config, statistics=collect_statistics(net, named(net, inputs(0)), 32), data=data_of(net))


def test_exactly_the_layer_that_minds_is_reverted(net: nn.Module) -> None:
    made = made_of(net, precisions=("float32", "int8"), budget={"size_ratio": 3.4}, max_drop=0.02)
    facts = made.plan["mixed"]
    assert facts["before_reverts"]["drop"] > 0.2
    assert [(one["layer"], one["from"], one["to"]) for one in facts["reverted"]] == [("spiked", "int8", "float32")]
    assert planned(made.plan, "float32") == ("spiked",)
    assert facts["met"] == {"bound": True, "budget": False}
    assert facts["drop"] <= 0.02
    assert facts["reverted"][0]["before"] == {name: facts["before_reverts"][name] for name in ("drop", "flips", "divergence")}
    assert "bytes; gained most for its cost of spiked" in facts["reverted"][0]["reason"]
    assert made.plan["layers"]["spiked"]["reason"].startswith("reverted from int8: drop ")
    assert "Reverted: spiked (int8 to float32)." in made.notes
    assert any("Budget not met" in note and "the reverts took more" in note for note in made.notes)
    assert any("Budget not met" in text for text in missed(made.plan))


def test_weights_alone_stand_the_spike(net: nn.Module) -> None:
    """Only its input is hard to round, so int4 weights with float inputs serve where int8 does not."""
    made = made_of(net, precisions=("float32", "int8", "int4"), budget={"size_ratio": 3.0}, max_drop=0.15)
    assert made.plan["layers"]["spiked"]["precision"] == "int4"
    assert made.plan["mixed"]["met"] == {"bound": True, "budget": True}
    assert made.plan["mixed"]["reverted"] == []
    assert missed(made.plan) == ()


def test_inputs_rounded_while_running_leave_no_layer_a_fixed_range(net: nn.Module) -> None:
    """What a language model deploys: its graph with a cache is given none."""
    made = made_of(net, precisions=("int8", "int4"), budget={"size_ratio": 5.0}, max_drop=0.9, inputs="running")
    assert planned(made.plan, "int8")
    assert planned(made.plan, "int4")
    assert layers_of_kind(made.plan, "static") == ()
    assert made.plan["mixed"]["met"]["budget"]


def test_whole_plans_are_rounded_with_compensation_where_that_is_asked_for(net: nn.Module) -> None:
    settings: dict[str, Any] = {"precisions": ("int8", "int4"), "budget": {"size_ratio": 5.0}, "max_drop": 0.9, "inputs": "running"}
    plain, fitted = made_of(net, **settings), made_of(net, **settings, compensate=True)
    assert all(planned(fitted.plan, precision) == planned(plain.plan, precision) for precision in ("int8", "int4"))
    assert fitted.plan["mixed"]["divergence"] < plain.plan["mixed"]["divergence"]
    assert fitted.grids.keys() == {f"{name}.scale" for name in fitted.plan["layers"]}
    assert "Rounded with compensation: 3 layers." in fitted.notes
    data = data_of(net)
    twin = simulate(fitted.model, fitted.plan, fitted.grids)
    outputs = [torch.cat([predict(model, data.calibration), predict(model, data.validation.inputs)]) for model in (net, twin)]
    assert fitted.plan["mixed"]["divergence"] == pytest.approx(divergence(TEN, *outputs), rel=1e-4)


@pytest.mark.parametrize("ratio", [1.5, 2.5, 3.5])
def test_the_budget_is_met_and_not_overdone(net: nn.Module, ratio: float) -> None:
    made = made_of(net, budget={"size_ratio": ratio}, max_drop=0.9)
    uses = uses_of(net, named(net, inputs(0)))
    whole = stored_bytes(net, NO_PLAN, uses)
    reached = whole / stored_bytes(made.model, made.plan, uses)
    assert reached >= ratio
    assert made.plan["mixed"]["estimated_size_ratio"] == pytest.approx(reached, abs=1e-5)
    largest_layer = WIDTH * WIDTH * 4
    assert whole / (whole / reached + largest_layer) < ratio, "one layer less would not have done"


def test_a_latency_budget_counts_macs_by_their_cost(net: nn.Module) -> None:
    cost = {"float32": 1.0, "bfloat16": 1.0, "int8": 0.25, "int4": 1.0}
    made = made_of(net, budget={"latency_ratio": 1.5}, max_drop=0.9, mac_cost=dict.fromkeys(("convolution", "depthwise", "linear"), cost))
    assert layer_macs(net, named(net, inputs(0)[:2])) == {"first": WIDTH * WIDTH, "spiked": WIDTH * WIDTH, "head": WIDTH * 4}
    assert planned(made.plan, "int8") == ("first",), "int4 and bfloat16 save no time, the spiked layer is harmed most"
    facts = made.plan["mixed"]
    total = 2 * WIDTH * WIDTH + 4 * WIDTH
    assert facts["estimated_latency_ratio"] == pytest.approx(total / (total - 0.75 * WIDTH * WIDTH), abs=1e-5)
    assert facts["met"]["budget"]


def test_where_nothing_holds_the_bound_the_best_is_kept_and_named_so(net: nn.Module) -> None:
    made = made_of(net, precisions=("int8", "int4"), budget={"size_ratio": 3.9}, max_drop=0.0, max_flips=0.0)
    facts = made.plan["mixed"]
    assert not facts["met"]["bound"]
    assert facts["flips"] > 0
    assert any(note.startswith("Bound not met: best found, and kept") for note in made.notes)
    assert any(text.startswith("Bound not met: best found") for text in missed(made.plan))
    assert all(facts["flips"] <= one["after"]["flips"] for one in facts["reverted"])
    assert "NOT met" in mixed_tables(made.plan)[0].note


def test_what_is_reported_is_what_the_saved_model_does(net: nn.Module) -> None:
    made = made_of(net, precisions=("float32", "int8"), budget={"size_ratio": 2.0}, max_drop=0.9, bias_correction=True)
    data = data_of(net)
    twin = simulate(made.model, made.plan, made.grids)
    drop = 1.0 - accuracy(predict(twin, data.validation.inputs).numpy(), data.validation.targets.numpy())
    assert made.plan["mixed"]["drop"] == pytest.approx(drop, abs=1e-6)
    outputs = [torch.cat([predict(model, data.calibration), predict(model, data.validation.inputs)]) for model in (net, twin)]
    assert made.plan["mixed"]["divergence"] == pytest.approx(divergence(TEN, *outputs), rel=1e-4)


def test_it_repeats_and_leaves_its_argument_alone(net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    one, two = (made_of(net, weight_observer="mse") for _ in range(2))
    assert one.plan == two.plan
    assert all(torch.equal(value, two.model.state_dict()[name]) for name, value in one.model.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    changed = {name for name, value in one.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed <= {f"{name}.weight" for name in planned(one.plan, "int8")}, "only int8 weights are clipped"


def test_kept_layers_stay_float_and_unknown_ones_are_named(net: nn.Module) -> None:
    made = made_of(net, keep_float=("spi*",), budget={"size_ratio": 3.9}, max_drop=0.9)
    assert made.plan["layers"]["spiked"]["reason"] == "kept in float by keep_float"
    assert any("out of reach, since" in note and "stay float whatever is chosen" in note for note in made.notes)
    with pytest.raises(InputError, match="'tail' matches no layer"):
        made_of(net, keep_float=("tail",))


def test_the_page_shows_reverts_and_sensitivity(net: nn.Module) -> None:
    made = made_of(net, precisions=("float32", "bfloat16", "int8"), budget={"size_ratio": 3.9}, max_drop=0.02)
    limits, reverts = mixed_tables(made.plan)
    assert limits.title == "Bound and budget"
    assert [row[1:4] for row in reverts.rows] == [("spiked", "int8", "bfloat16")]
    figure = mixed_figures(made.plan)[0]
    assert "int8" in figure.svg
    assert "bfloat16" in figure.svg
    assert mixed_tables({"layers": {}}) == mixed_figures({"layers": {}}) == ()


def test_divergence_is_that_of_the_class_probabilities() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    assert divergence(TEN, logits, logits + 3.0) == pytest.approx(0.0, abs=1e-9)
    expected = 0.5 * float(torch.log(torch.tensor(0.5 / 0.25)) * 0.5 + torch.log(torch.tensor(0.5 / 0.75)) * 0.5)
    assert divergence(TEN, logits, torch.log(torch.tensor([[0.25, 0.75], [0.9, 0.1]]))) == pytest.approx(expected, rel=1e-5)


LOADERS = {"onnxruntime": onnxruntime_loader.load, "openvino": openvino_loader.load}


@pytest.mark.slow
@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("target", LOADERS)
def test_four_precisions_run_side_by_side(target: str, compensate: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    convolutions = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
    net = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    images = inputs(3).view(SAMPLES, 1, 8, 8)
    data = method_data(net, images)
    config = MixedParams(source="teacher", method="mixed", compensate=compensate)
    ready = calibrated(net, config, statistics=collect_statistics(net, named(net, images), 32), data=data)
    choice = {"0": "bfloat16", "2": "int8", "5": "int4", "7": "float32"}
    made = Realised(ready, candidates(ready, config, data), config, data).finished(choice)
    given = samples(net, images)
    lowered = get_method("compile", target)(made.model, made.plan, tmp_path, grids=made.grids, **given)
    assert lowered.layers == ("0", "2", "5")
    assert (lowered.precision, lowered.computes) == ("int4+int8+bfloat16", "int8+float32")
    assert lowered.weight_bytes == pytest.approx(
        stored_bytes(made.model, made.plan, uses_of(made.model, named(made.model, images)), made.grids), rel=0.02
    )
    infer, _ = LOADERS[target](
        tmp_path, CompiledManifest.model_construct(execution=lowered.execution, signature=given["signature"], computes=lowered.computes), 1
    )
    simulated = predict(simulate(made.model, made.plan, made.grids), given["calibration"])
    assert sqnr_db(simulated, torch.from_numpy(infer({"input": images.numpy()}))) > 30


def test_a_target_that_lacks_a_precision_refuses_before_anything_runs() -> None:
    every = MixedParams(source="teacher", method="mixed")
    plain = MixedParams(source="teacher", method="mixed", precisions=("float32", "int8"))
    assert "fewer than 8 bits" in str(every.refused_by("inductor"))
    assert "leave bfloat16 and int4 out of precisions" in str(every.refused_by("executorch"))
    assert every.refused_by("onnxruntime") is every.refused_by("openvino") is None
    assert plain.refused_by("inductor") is plain.refused_by("executorch") is None
    assert "no int8 kernels" in str(plain.refused_by("eager"))


def test_mistakes_in_the_config_are_all_told() -> None:
    variant = {
        "source": "teacher",
        "method": "mixed",
        "precisions": ["int8", "int2"],
        "budget": {"size_ratio": 3.0, "latency_ratio": 2.0},
        "max_drop": 1.5,
    }
    raw = {"workload": "digits", "quantize": {"a": variant}, "deploy": {"variants": ["teacher", "a"], "targets": ["onnxruntime"]}}
    with pytest.raises(ParamsError) as caught:
        Params.parse(raw)
    told = str(caught.value)
    for part in ("quantize.a.precisions.1", "int2", "quantize.a.budget: give either size_ratio or latency_ratio", "quantize.a.max_drop"):
        assert part in told
    for settings, part in (
        ({"precisions": []}, "at least 2"),
        ({"precisions": ["int8", "int8"]}, "twice"),
        ({"precisions": ["float16", "bfloat16"]}, "not both"),
        ({"budget": {}}, "give either"),
        (
            {"mac_cost": {"linear": {"float32": 1.0}}},
            "mac_cost lacks convolution, depthwise, bfloat16 of linear, int8 of linear, int4 of linear",
        ),
    ):
        with pytest.raises(ParamsError, match=part):
            Params.parse(raw | {"quantize": {"a": {"source": "teacher", "method": "mixed", **settings}}})
