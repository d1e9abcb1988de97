"""One contract for every method in the table: it takes nothing away from its argument, repeats, and does what it declares."""

import copy
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.folder import checksums
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import load_variant, save_variant
from slimline.calibration.least_work import least_work
from slimline.calibration.sensitivity import sensitivity
from slimline.calibration.statistics import collect_statistics
from slimline.calibration.trials import WORKS, Trials
from slimline.data.samples import Samples
from slimline.data.signature import signature_of
from slimline.errors import StageError
from slimline.measure.compute import count
from slimline.methods import METHODS, get_method
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import planned
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes
from slimline.objectives.classification import Classification
from slimline.objectives.distance import relative_change
from slimline.params import (
    CONFIGS,
    TARGETS,
    AdaroundParams,
    AssistantParams,
    AttentionTransferParams,
    AwqParams,
    ChannelsParams,
    CpParams,
    DepthParams,
    DkdParams,
    DynamicParams,
    FactorizedTrainingParams,
    GptqParams,
    GroupLassoParams,
    HalfParams,
    HardConcreteParams,
    HeadsParams,
    HiddenStatesParams,
    HintsParams,
    HqqParams,
    L1RegularisedParams,
    LotteryTicketParams,
    MagnitudeParams,
    MixedParams,
    MovementParams,
    MutualParams,
    NetworkSlimmingParams,
    Params,
    QatParams,
    RelationalParams,
    ScratchParams,
    SelfParams,
    SemiStructuredParams,
    SmoothquantParams,
    SoftTargetsParams,
    SparsegptParams,
    SpatialSvdParams,
    StaticParams,
    SvdParams,
    TaylorParams,
    TuckerParams,
    VariantParams,
    WandaParams,
    WeightOnlyParams,
)
from slimline.training.data import TrainingData
from slimline.training.fit import predict
from tests.method_data import TEN, method_data
from tests.small_nets import NETS, seeded

EXAMPLE = {"x": torch.zeros(2, 1, 4, 4)}
SIGNATURE = signature_of([EXAMPLE], torch.zeros(2, 3))
SEED = 7


@dataclass(frozen=True)
class Tiny:
    """A workload for the artifact: a small net of 32 channels, and students of any width."""

    net: str
    name: str = "tiny"

    def build_teacher(self) -> nn.Module:
        """32 channels."""
        return seeded(self.net, 32)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """As many channels as `width` says."""
        return seeded(self.net, config["width"])


@dataclass(frozen=True)
class Case:
    """A method at a strength that shows, and, where it has one, at strength 0."""

    stage: str
    config: VariantParams
    idle: VariantParams | None = None
    zero_share: float = 0.6
    """The share of all weights that is to be zero where shapes stay and nothing is quantized."""
    net: str = "residual"
    """On which of tests/small_nets.py the method is tried."""

    @property
    def method(self) -> str:
        return self.config.method


def of(kind: type[VariantParams], method: str, **settings: Any) -> VariantParams:
    return kind(source="teacher", method=method, **settings)


FEW_EPOCHS = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}
TRAINING = FEW_EPOCHS | {"student": {"width": 8}}
NARROW = {"round_to": 8, "min_channels": 1, "include_linear": True}
PAIRS = {"student_layers": ("hidden",), "teacher_layers": ("hidden",)}
SMALLEST = {"precisions": ("int8", "int4"), "budget": {"size_ratio": 3.8}, "max_drop": 0.5, "samples": 16, "tries": 1}
CASES = (
    Case("prune", of(MagnitudeParams, "magnitude", fraction=0.6), of(MagnitudeParams, "magnitude", fraction=0.0)),
    Case("prune", of(TaylorParams, "taylor", fraction=0.6), of(TaylorParams, "taylor", fraction=0.0)),
    Case(
        "prune",
        of(MovementParams, "movement", fraction=0.6, training=FEW_EPOCHS, warm_up=0.0),
        of(MovementParams, "movement", fraction=0.0),
    ),
    Case("prune", of(SemiStructuredParams, "semi_structured"), of(SemiStructuredParams, "semi_structured", n=4), zero_share=0.49),
    Case("prune", of(WandaParams, "wanda", fraction=0.6), of(WandaParams, "wanda", fraction=0.0)),
    Case("prune", of(SparsegptParams, "sparsegpt", fraction=0.6), of(SparsegptParams, "sparsegpt", fraction=0.0)),
    Case("prune", of(ChannelsParams, "channels", ratio=0.5), of(ChannelsParams, "channels", ratio=0.0)),
    Case(
        "prune",
        of(HeadsParams, "heads", fraction=0.5, mlp_ratio=0.5, criterion="taylor"),
        of(HeadsParams, "heads", fraction=0.0),
        net="encoder",
    ),
    Case("prune", of(DepthParams, "depth", blocks=1), of(DepthParams, "depth", ratio=0.0), net="blocks"),
    Case(
        "prune",
        of(LotteryTicketParams, "lottery_ticket", rounds=2, fraction=0.4, rewind_epoch=1, training=FEW_EPOCHS),
        of(LotteryTicketParams, "lottery_ticket", fraction=0.0),
    ),
    Case(
        "prune",
        of(L1RegularisedParams, "l1_regularised", penalty=1.0, training=FEW_EPOCHS),
        of(L1RegularisedParams, "l1_regularised", penalty=0),
        zero_share=0.4,
    ),
    Case(
        "prune",
        of(NetworkSlimmingParams, "network_slimming", penalty=8.0, training=FEW_EPOCHS),
        of(NetworkSlimmingParams, "network_slimming", penalty=0),
        net="plain",
    ),
    Case(
        "prune",
        of(GroupLassoParams, "group_lasso", penalty=3.0, training=FEW_EPOCHS),
        of(GroupLassoParams, "group_lasso", penalty=0),
    ),
    Case(
        "prune",
        of(HardConcreteParams, "hard_concrete", penalty=3.0, gate_learning_rate=1.0, training=FEW_EPOCHS),
        of(HardConcreteParams, "hard_concrete", training={"epochs": 0}),
    ),
    Case("quantize", of(StaticParams, "static"), of(StaticParams, "static", keep_float=("*",))),
    Case("quantize", of(AdaroundParams, "adaround", iterations=20), of(AdaroundParams, "adaround", keep_float=("*",))),
    Case("quantize", of(QatParams, "qat", **FEW_EPOCHS), of(QatParams, "qat", epochs=0, keep_float=("*",))),
    Case("quantize", of(MixedParams, "mixed", **SMALLEST), of(MixedParams, "mixed", keep_float=("*",))),
    Case("quantize", of(DynamicParams, "dynamic"), of(DynamicParams, "dynamic", keep_float=("*",))),
    Case("quantize", of(HalfParams, "half")),
    Case("quantize", of(WeightOnlyParams, "weight_only", symmetric=False), of(WeightOnlyParams, "weight_only", keep_float=("*",))),
    Case("quantize", of(HqqParams, "hqq"), of(HqqParams, "hqq", keep_float=("*",))),
    Case("quantize", of(GptqParams, "gptq"), of(GptqParams, "gptq", keep_float=("*",))),
    Case("quantize", of(AwqParams, "awq"), of(AwqParams, "awq", keep_float=("*",))),
    Case("quantize", of(SmoothquantParams, "smoothquant"), of(SmoothquantParams, "smoothquant", strength=0.0, keep_float=("*",))),
    Case("factorize", of(SvdParams, "svd", energy=0.7), of(SvdParams, "svd", energy=1.0)),
    Case("factorize", of(SpatialSvdParams, "spatial_svd", parameter_ratio=0.5, **NARROW), of(SpatialSvdParams, "spatial_svd", energy=1.0)),
    Case("factorize", of(TuckerParams, "tucker", budget={"macs": 0.9}, **NARROW), of(TuckerParams, "tucker", energy=1.0)),
    Case("factorize", of(CpParams, "cp", parameter_ratio=0.3, **NARROW), of(CpParams, "cp", energy=1.0)),
    Case(
        "factorize",
        of(FactorizedTrainingParams, "factorized_training", parameter_ratio=0.4, **FEW_EPOCHS),
        of(FactorizedTrainingParams, "factorized_training", parameter_ratio=0.4, epochs=0),
    ),
    Case("distill", of(SoftTargetsParams, "soft_targets", **TRAINING), of(SoftTargetsParams, "soft_targets", **TRAINING | {"epochs": 0})),
    Case(
        "distill",
        of(HiddenStatesParams, "hidden_states", **TRAINING, **PAIRS),
        of(HiddenStatesParams, "hidden_states", **TRAINING | {"epochs": 0}, **PAIRS),
    ),
    *(
        Case("distill", of(kind, method, **TRAINING, **more), of(kind, method, **TRAINING | {"epochs": 0}, **more))
        for kind, method, more in (
            (DkdParams, "dkd", {"synthetic": {"kind": "mixup", "samples": 32}}),
            (HintsParams, "hints", {"hint_epochs": 1, "synthetic": {"kind": "noise", "samples": 32}}),
            (AttentionTransferParams, "attention_transfer", {"pairs": 2}),
            (RelationalParams, "relational", {"synthetic": {"kind": "neighbours", "samples": 32}}),
            (MutualParams, "mutual", {"peers": 2}),
            (SelfParams, "self", {"alpha": 0.5}),
            (AssistantParams, "assistant", {"assistants": ({"width": 0.5},)}),
        )
    ),
    Case(
        "distill",
        of(ScratchParams, "scratch", control_of="x", **TRAINING),
        of(ScratchParams, "scratch", control_of="x", **TRAINING | {"epochs": 0}),
    ),
)
LANGUAGE_ALONE = {("distill", "sequence")}
"""What is tried in tests/unit/test_distill_language.py: its teacher writes texts."""
ON_ANY_NET = ("magnitude", "svd", "soft_targets")
"""What the methods that are tried on a net of their own follow."""
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.stage}-{case.method}")


@dataclass(frozen=True)
class Made:
    """A method's result: the model to save, its plan and stored grids, and the model that behaves as the variant does."""

    model: nn.Module
    plan: dict[str, Any] | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def behaviour(self) -> nn.Module:
        return self.model if self.plan is None else simulate(self.model, self.plan, self.grids)


def samples(count: int, seed: int) -> Samples:
    """Noise with a bright row; the label is which."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (count,), generator=generator)
    inputs = torch.randn(count, 1, 4, 4, generator=generator)
    inputs[torch.arange(count), 0, targets] += 2
    return Samples({"x": inputs}, targets)


TRAIN, HELD_OUT = samples(96, 0), samples(48, 1)
FEW = TRAIN.take(slice(0, 64))
"""Enough to see whether one method can follow another."""


def teacher(net: str) -> nn.Module:
    """Trained a little, so that magnitudes, batch norms and outputs mean something."""
    control = of(ScratchParams, "scratch", control_of="x", **TRAINING | {"epochs": 3})
    return distilled(control, seeded(net, 32), seeded(net, 32)).model


def distilled(config: Any, student: nn.Module, guide: nn.Module, train: Samples = TRAIN) -> Made:
    data = TrainingData(train=train, validation=HELD_OUT, objective=TEN, metric="accuracy", seed=SEED)
    return Made(get_method("distill", config.method)(student, guide, config, data=data).model)


def apply(case: Case, config: Any, model: nn.Module, net: str | None = None, train: Samples = TRAIN) -> Made:
    method = get_method(case.stage, case.method)
    if case.stage == "distill":
        return distilled(config, seeded(net or case.net, 8), model, train)
    if case.stage == "quantize":
        data = data_of(net or case.net, trains=config.trains, train=train)
        made = method(model, config, statistics=collect_statistics(model, train.inputs, 32), data=data)
        return Made(made.model, made.plan, made.grids)
    return Made(method(model, config, data=data_of(net or case.net, train=train)).model)


def sensitivities(net: str, kind: str) -> dict[str, float]:
    """As the stages measure them, of one teacher for all."""
    model = teacher(net)
    effects = sensitivity(
        model,
        collect_statistics(model, TRAIN.inputs, 32),
        calibration=TRAIN.inputs,
        validation=HELD_OUT,
        objective=TEN,
        metric="accuracy",
    )
    return {name: found.output_change for name, kinds in effects.items() if (found := kinds[kind]) is not None}


def data_of(net: str, *, trains: bool = True, train: Samples = TRAIN) -> MethodData:
    """What a stage would hand to a method beside the model."""
    return method_data(
        seeded(net, 32),
        train.inputs,
        train.targets,
        train=train if trains else train.take(slice(0, 0)),
        validation=HELD_OUT,
        example=EXAMPLE,
        seed=SEED,
        sensitivity=partial(sensitivities, net),
        initial=lambda: seeded(net, 32),
    )


def manifest(case: Case) -> Manifest:
    role = Architecture(role="student", config={"width": 8}) if case.stage == "distill" else Architecture()
    names = {"workload": "tiny", "variant": "made", "stage": case.stage, "method": case.method, "source": "teacher"}
    return Manifest(**names, config={}, lineage=("made", "teacher"), architecture=role, structure={}, seed=SEED)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def digest(made: Made) -> str:
    """A checksum of every weight, of the plan and of the stored grids."""
    state = hashlib.sha256(json.dumps(made.plan, sort_keys=True).encode())
    for name, value in sorted({**made.model.state_dict(), **made.grids}.items()):
        state.update(f"{name}{tuple(value.shape)}".encode() + value.numpy().tobytes())
    return state.hexdigest()


def digests() -> dict[str, str]:
    """What every method makes of the same teacher."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    teachers = {net: teacher(net) for net in NETS}
    return {f"{case.stage}-{case.method}": digest(apply(case, case.config, teachers[case.net])) for case in CASES}


@pytest.fixture(scope="module")
def sources() -> dict[str, nn.Module]:
    return {net: teacher(net) for net in NETS}


@pytest.fixture(scope="module")
def edited(sources: dict[str, nn.Module]) -> Callable[[int, str], Made]:
    """What the case of that number makes of a net, once for all that look at it or follow it."""
    return functools.cache(lambda index, net: apply(CASES[index], CASES[index].config, sources[net], net))


@pytest.fixture
def made(case: Case, edited: Callable[[int, str], Made]) -> Made:
    """What the test's case makes of its trained net."""
    return edited(CASES.index(case), case.net)


@pytest.fixture
def source(request: pytest.FixtureRequest, sources: dict[str, nn.Module]) -> nn.Module:
    """The trained net of the test's case, or the residual one."""
    case = request.node.callspec.params.get("case")
    return sources[case.net if case else "residual"]


def test_table_configs_and_cases_name_the_same_methods() -> None:
    model_stages = {stage: list(methods) for stage, methods in METHODS.items() if stage != "compile"}
    assert model_stages == {stage: list(methods) for stage, methods in CONFIGS.items()}
    every = {(stage, name) for stage in CONFIGS for name in CONFIGS[stage]} - LANGUAGE_ALONE
    assert sorted((case.stage, case.method) for case in CASES) == sorted(every)
    assert set(METHODS["compile"]) == set(TARGETS)
    assert all(callable(get_method(stage, name)) for stage, names in METHODS.items() for name in names)


def test_an_unknown_method_is_named_with_those_there_are() -> None:
    with pytest.raises(StageError, match="prune: no method 'wunda'; there are: magnitude, "):
        get_method("prune", "wunda")


@every_case
def test_the_argument_stays_as_it_was(case: Case, source: nn.Module) -> None:
    before, hooks = weights(source), [len(module._forward_pre_hooks) for module in source.modules()]
    training = [module.training for module in source.modules()]
    gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in source.parameters()]
    made = apply(case, case.config, source)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
    assert [module.training for module in source.modules()] == training
    assert [len(module._forward_pre_hooks) for module in source.modules()] == hooks
    for parameter, gradient in zip(source.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert parameter.grad is None if gradient is None else torch.equal(parameter.grad, gradient)
    kept = {value.data_ptr() for value in source.state_dict().values()}
    assert not kept & {value.data_ptr() for value in made.model.state_dict().values()}, "the result shares memory with the argument"


def test_every_method_repeats_in_this_process_and_in_another() -> None:
    threads = torch.get_num_threads()
    here = digests()
    assert digests() == here
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    environment = os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": str(Path(__file__).parents[2])}
    other = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout.splitlines()[-1]) == here


@every_case
def test_strength_zero_changes_nothing(case: Case, source: nn.Module) -> None:
    if case.idle is None:
        assert case.method == "half", "only the 16-bit types have no strength"
        return
    made = apply(case, case.idle, source)
    expected = seeded(case.net, 8).eval() if case.stage == "distill" else source
    if case.method == "qat":
        expected = fold_batchnorm(source, EXAMPLE)
    assert torch.equal(predict(made.behaviour, HELD_OUT.inputs), predict(expected, HELD_OUT.inputs))
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in made.model.state_dict().items())


GENTLE: dict[str, dict[str, Any]] = {
    "magnitude": {"fraction": 0.05},
    "taylor": {"fraction": 0.05},
    "semi_structured": {"n": 3},
    "channels": {"ratio": 0.05, "round_to": 1},
    "heads": {"fraction": 0.0, "mlp_ratio": 0.05, "round_to": 1},
    "svd": {"energy": 0.99},
    "spatial_svd": {"energy": 0.99, "parameter_ratio": None, "round_to": 1},
    "tucker": {"energy": 0.99, "budget": None, "round_to": 1},
    "cp": {"energy": 0.97, "parameter_ratio": None, "round_to": 1},
}
"""The least that methods which do not train can take; strength 0 never reaches their arithmetic."""


@pytest.mark.parametrize("case", [case for case in CASES if case.method in GENTLE], ids=lambda case: case.method)
def test_a_gentle_edit_stays_near_the_source(case: Case, source: nn.Module) -> None:
    made = apply(case, case.config.model_copy(update=GENTLE[case.method]), source)
    moved = relative_change(predict(source, HELD_OUT.inputs), predict(made.model, HELD_OUT.inputs))
    assert 0 < moved < 0.3


@every_case
def test_the_artifact_comes_back_with_equal_outputs(case: Case, made: Made, tmp_path: Path) -> None:
    save_variant(tmp_path / "made", made.model, manifest(case), Tiny(case.net), made.plan, made.grids)
    loaded = load_variant(tmp_path / "made", Tiny(case.net))
    assert loaded.plan == made.plan
    back = Made(loaded.model, loaded.plan, loaded.grids)
    assert torch.equal(predict(back.behaviour, HELD_OUT.inputs), predict(made.behaviour, HELD_OUT.inputs))


@every_case
def test_the_declared_effect_is_really_there(case: Case, made: Made, source: nn.Module, tmp_path: Path) -> None:
    before, after = count(source, EXAMPLE), count(made.model, EXAMPLE)
    same_shapes = [layer.weight.shape for layer in weighted(source)] == [layer.weight.shape for layer in weighted(made.model)]
    assert same_shapes != case.config.changes_shape
    if case.config.changes_shape:
        save_variant(tmp_path / "before", source, manifest(CASES[0]), Tiny(case.net))
        save_variant(tmp_path / "after", made.model, manifest(case), Tiny(case.net))
        bytes_before, bytes_after = ((tmp_path / name / "weights.safetensors").stat().st_size for name in ("before", "after"))
        assert after.parameters < before.parameters
        assert after.macs < before.macs
        assert bytes_after < bytes_before
    elif made.plan is not None:
        assert set(planned(made.plan, "float32")) == set()
        uses = uses_of(source, EXAMPLE)
        share = stored_bytes(source, made.plan, uses) / stored_bytes(source, NO_PLAN, uses)
        assert share < (0.55 if case.method == "half" else 0.3)
        assert not torch.equal(predict(made.behaviour, HELD_OUT.inputs), predict(source, HELD_OUT.inputs))
    else:
        assert after.parameters == before.parameters
        assert after.nonzero <= before.nonzero - int((case.zero_share - 0.01) * sum(layer.weight.numel() for layer in weighted(source)))


@pytest.mark.parametrize("case", [case for case in CASES if not case.config.needs_data], ids=lambda case: case.method)
def test_methods_that_need_no_data_give_the_same_without(case: Case, source: nn.Module) -> None:
    assert case.stage == "quantize"
    assert get_method(case.stage, case.method)(source, case.config, statistics=None).plan == apply(case, case.config, source).plan


class LabelsReadError(AssertionError):
    """A method asked for a loss."""


class NoLabels(Classification):
    """The objective without its loss."""

    def loss(self, *_: Tensor) -> Tensor:
        """Not to be asked for."""
        raise LabelsReadError


@pytest.mark.parametrize("case", [case for case in CASES if case.stage in ("prune", "factorize")], ids=lambda case: case.method)
def test_needs_labels_is_true_to_the_code(case: Case, source: nn.Module) -> None:
    """The others give the same without a loss and with labels that are all wrong; heads and channels read them for taylor alone."""
    config = case.config.model_copy(update={"criterion": "l2"}) if case.method == "heads" else case.config
    data, wrong = data_of(case.net), Samples(TRAIN.inputs, (TRAIN.targets + 1) % 3)
    blind = replace(data, objective=NoLabels(TEN.labels), train=wrong, validation=Samples(HELD_OUT.inputs, (HELD_OUT.targets + 1) % 3))
    method = get_method(case.stage, case.method)
    if config.needs_labels:
        with pytest.raises(LabelsReadError):
            method(source, config, data=blind)
    else:
        assert digest(Made(method(source, config, data=blind).model)) == digest(Made(method(source, config, data=data).model))


def test_methods_that_train_declare_it() -> None:
    """The others are given no training rows, here as by the stage."""
    assert {case.method for case in CASES if case.stage == "quantize" and case.config.trains} == {"qat"}
    assert all(case.config.trains for case in CASES if case.stage != "quantize")
    assert [len(data_of("residual", trains=trains).train) for trains in (True, False)] == [96, 0]


@pytest.mark.slow
@every_case
def test_may_follow_every_stage_that_it_declares(case: Case, edited: Callable[[int, str], Made]) -> None:
    assert "teacher" in case.config.may_follow
    for index, earlier in enumerate(CASES):
        if earlier.stage in case.config.may_follow and (earlier.net == case.net or earlier.method in ON_ANY_NET):
            outputs = predict(apply(case, least_work(case.config), edited(index, case.net).model, train=FEW).behaviour, HELD_OUT.inputs)
            assert outputs.shape == (len(HELD_OUT), 3), f"after {earlier.method}"
            assert bool(torch.isfinite(outputs).all()), f"after {earlier.method}"


COMPILED = (
    ("eager", None),
    ("eager", "half"),
    ("torchscript", None),
    ("torchscript", "half"),
    ("onnxruntime", "static"),
    ("openvino", "static"),
)
"""Not here: Inductor and ExecuTorch, which take 10 seconds to start (tests/unit/test_inductor.py and test_executorch.py do the same), and
XLA, whose compiler takes over torch.compile in its process (tests/unit/test_xla.py runs it in another)."""


@pytest.mark.slow
@pytest.mark.parametrize(("target", "planned_by"), COMPILED)
def test_a_compiler_repeats_and_leaves_its_argument_alone(target: str, planned_by: str | None, source: nn.Module, tmp_path: Path) -> None:
    plan = None if planned_by is None else next(apply(case, case.config, source).plan for case in CASES if case.method == planned_by)
    before, before_plan, files = weights(source), copy.deepcopy(plan), []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        lowered = get_method("compile", target)(source, plan, folder, example=EXAMPLE, calibration=TRAIN.inputs, signature=SIGNATURE)
        files.append(checksums(folder))
    assert files[0] == files[1] != {}
    assert lowered.precision == {None: "float32", "half": "bfloat16", "static": "int8"}[planned_by]
    assert plan == before_plan
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


@pytest.mark.parametrize("case", [case for case in CASES if case.config.impossible_on], ids=lambda case: case.method)
def test_what_is_declared_impossible_is_refused_by_the_compiler(case: Case, source: nn.Module, tmp_path: Path) -> None:
    plan = apply(case, case.config, source).plan
    for target in case.config.impossible_on:
        with pytest.raises(StageError, match=r"int8|16"):
            get_method("compile", target)(source, plan, tmp_path, example=EXAMPLE, calibration=TRAIN.inputs, signature=SIGNATURE)


def weighted(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests()) + "\n")


@every_case
def test_it_is_tried_on_an_untrained_net_in_no_time_and_leaves_it(case: Case) -> None:
    params = Params(workload="tiny", deploy={"variants": ("teacher",), "targets": ("eager",)}, **{case.stage: {"v": case.config}})
    net = seeded(case.net, 32).eval()
    before = copy.deepcopy(net.state_dict())
    trials = Trials(Tiny(case.net), params, TRAIN.take(slice(0, 4)), TEN, "accuracy", lambda _architecture: ())
    ((trial, name, made),) = trials.of(["v"], net)
    assert (trial.what, trial.outcome, trial.said, name) == (f"{case.stage}.v", WORKS, "", "v")
    assert made is not None
    assert made.model(**EXAMPLE).shape == net(**EXAMPLE).shape
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    least = least_work(case.config)
    assert [getattr(least, name) for name in ("epochs", "iterations") if hasattr(least, name)] in ([], [1])
    assert least.source == case.config.source
