"""The contract of a method, tried on small nets: it takes nothing away from its argument, repeats, and does what it declares."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import load_variant, save_variant
from slimline.calibration.contract_nets import NETS, SEED, STUDENT_WIDTH, SmallWorkload, seeded, small_data, trained
from slimline.calibration.least_work import least_work
from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import flat
from slimline.errors import ArtifactError, Diverged, InputError, MethodError, StageError
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.exported import REFUSALS, reason_of
from slimline.methods.layer_use import uses_of
from slimline.methods.macs import macs
from slimline.methods.quantize.plan import Plan
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes
from slimline.params import TARGETS, EditParams, StudentTraining, VariantParams
from slimline.params.own import checked_entry, own_code
from slimline.training.fit import predict


@dataclass(frozen=True)
class Made:
    """What a method gave: its model, its plan and stored grids where it quantizes."""

    model: nn.Module
    plan: Plan | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def behaviour(self) -> nn.Module:
        """The model that behaves as the variant does."""
        return self.model if self.plan is None else simulate(self.model, self.plan, self.grids)

    @property
    def digest(self) -> str:
        """A checksum of every weight, of the plan and of the grids."""
        state = hashlib.sha256(repr(self.plan).encode())
        for name, value in sorted({**self.model.state_dict(), **self.grids}.items()):
            state.update(f"{name}{tuple(value.shape)}{value.dtype}".encode() + value.detach().contiguous().numpy().tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class Trial:
    """One method on one net: `source` is the trained net, `data` what a stage would give."""

    stage: str
    config: VariantParams
    net: str
    source: nn.Module
    data: MethodData

    def apply(self, config: VariantParams | None = None) -> Made:
        """What the method makes of the source."""
        config, method = config or self.config, get_method(self.stage, self.config.method)
        if self.stage == "distill":
            return Made(method(seeded(self.net, STUDENT_WIDTH), self.source, config, data=self.data).model)
        if self.stage == "quantize":
            statistics = collect_statistics(self.source, self.data.calibration, 32) if config.needs_data else None
            made = method(self.source, config, statistics=statistics, data=self.data)
            return Made(made.model, made.plan, made.grids)
        return Made(method(self.source, config, data=self.data).model)


def stage_of(kind: type[VariantParams]) -> str:
    """The stage that a config is made for, by the class it is made from; what prunes may as well factorize."""
    return "distill" if issubclass(kind, StudentTraining) else "prune" if issubclass(kind, EditParams) else "quantize"


def breaches(method: str, kind: type[VariantParams]) -> Iterator[str]:
    """What a method does not keep of the contract, a line each; none where it keeps all of it."""
    try:
        config = least_work(checked_entry(kind, {"source": "teacher", "method": method}))
    except MethodError as error:
        yield str(error)
        return
    except ValidationError as error:
        names = ", ".join(".".join(map(str, problem["loc"])) or problem["msg"] for problem in error.errors())
        yield f"{kind.__name__}: cannot be made without settings ({names}); give every knob a default, so that it can be tried"
        return
    for net in NETS:
        source = trained(net)
        trial = Trial(stage_of(kind), config, net, source, small_data(net, trains=config.trains))
        for what, check in CHECKS.items():
            if said := _said(check, trial):
                yield f"{what}, on {net}: {said}"


def _said(check: Callable[[Trial], str], trial: Trial) -> str:
    """What a check found; what the method or the artifact refuses is a finding too."""
    try:
        return check(trial)
    except (StageError, InputError, Diverged, ArtifactError) as error:
        return " ".join(str(error).split())
    except REFUSALS as error:
        return f"{type(error).__name__}: {reason_of(error)}"


def _argument_stays(trial: Trial) -> str:
    before = {name: value.clone() for name, value in trial.source.state_dict().items()}
    modes, hooks = ([value(module) for module in trial.source.modules()] for value in (_mode, _hooks))
    made = trial.apply()
    after = trial.source.state_dict()
    if changed := [name for name, value in before.items() if name not in after or not torch.equal(value, after[name])]:
        return f"it changed {changed[0]} of its argument; copy the model first (copy.deepcopy)"
    if modes != [_mode(module) for module in trial.source.modules()] or hooks != [_hooks(module) for module in trial.source.modules()]:
        return "it left its argument in another mode, or with hooks; copy the model first"
    if {value.data_ptr() for value in after.values()} & {value.data_ptr() for value in made.model.state_dict().values() if value.numel()}:
        return "its result shares memory with its argument; copy the model first"
    return ""


def _repeats(trial: Trial) -> str:
    torch.manual_seed(1)
    first = trial.apply().digest
    torch.manual_seed(2)
    return "" if trial.apply().digest == first else "equal seeds gave other bytes; draw from data.seed alone, and read no clock"


def _strength_zero(trial: Trial) -> str:
    name = trial.config.strength_field
    if not name:
        return ""
    idle = trial.config.model_copy(update={name: 0})
    if isinstance(idle, EditParams) and not idle.idle:
        return f"{name}: 0 is strength 0, and the config's `idle` says it is none"
    made = trial.apply(idle)
    expected = seeded(trial.net, STUDENT_WIDTH).eval() if trial.stage == "distill" else trial.source
    return "" if _alike(made.behaviour, expected, trial) else f"{name}: 0 changed the outputs"


def _round_trip(trial: Trial) -> str:
    made, workload = trial.apply(), SmallWorkload(trial.net)
    with tempfile.TemporaryDirectory(prefix="slimline-contract-") as folder:
        save_variant(Path(folder) / "made", made.model, _manifest(trial), workload, made.plan, made.grids)
        loaded = load_variant(Path(folder) / "made", workload)
        back = Made(loaded.model, loaded.plan, loaded.grids)
        same = _alike(back.behaviour, made.behaviour, trial)
    return "" if same else "the artifact gave other outputs than the model that was stored"


def _effect(trial: Trial) -> str:
    made = trial.apply()
    if trial.stage == "distill":
        untrained, trained_now = seeded(trial.net, STUDENT_WIDTH).state_dict(), made.model.state_dict()
        return "" if any(not torch.equal(value, trained_now[name]) for name, value in untrained.items()) else "it did not train the student"
    if trial.stage == "quantize":
        bytes_before, bytes_now = (_bytes(trial, trial.source, NO_PLAN), _bytes(trial, made.model, made.plan or NO_PLAN))
        return "" if bytes_now < bytes_before else f"the plan stores {bytes_now:,} bytes, float32 {bytes_before:,}"
    (parameters, nonzero, work), (now, nonzero_now, work_now) = (_counts(model, trial) for model in (trial.source, made.model))
    if trial.config.changes_shape:
        is_smaller = now < parameters and work_now < work
        return "" if is_smaller else f"parameters {parameters:,} -> {now:,}, multiply-accumulates {work:,} -> {work_now:,}"
    return "" if nonzero_now < nonzero else f"non-zero weights {nonzero:,} -> {nonzero_now:,}; it declares no changes_shape"


def _declared(trial: Trial) -> str:
    """What the stages and `check` read of a config."""
    config = trial.config
    if not isinstance(config.idle, bool):
        return f"`idle` is {config.idle!r}; say True or False"
    if isinstance(config, EditParams) and not (isinstance(config.asked, str) and config.asked):
        return f"`asked` is {config.asked!r}; say in a sentence what the config asks for, or leave it out"
    for target in TARGETS:
        with own_code(config.method, f"refused_by({target!r})"):
            refusal = config.refused_by(target)
        if refusal is not None and not isinstance(refusal, str):
            return f"refused_by({target!r}) gave {refusal!r}; say why, or None where the target takes it"
    return ""


CHECKS: Mapping[str, Callable[[Trial], str]] = {
    "what the config says can be read": _declared,
    "the argument stays as it was": _argument_stays,
    "equal seeds give equal bytes": _repeats,
    "strength 0 changes nothing": _strength_zero,
    "the artifact comes back equal": _round_trip,
    "the effect is there": _effect,
}


def _mode(module: nn.Module) -> bool:
    return module.training


def _hooks(module: nn.Module) -> int:
    return len(module._forward_pre_hooks) + len(module._forward_hooks)


def _alike(one: nn.Module, other: nn.Module, trial: Trial) -> bool:
    inputs = trial.data.calibration
    return torch.equal(flat(predict(one, inputs)), flat(predict(other, inputs)))


def _counts(model: nn.Module, trial: Trial) -> tuple[int, int, int]:
    """Parameters, those that are not zero, and multiply-accumulates of a sample."""
    values = list(model.parameters())
    return sum(value.numel() for value in values), sum(int(value.count_nonzero()) for value in values), macs(model, trial.data.example)


def _bytes(trial: Trial, model: nn.Module, plan: Plan) -> int:
    return stored_bytes(model, plan, uses_of(model, trial.data.example))


def _manifest(trial: Trial) -> Manifest:
    role = Architecture(role="student", config={"width": STUDENT_WIDTH}) if trial.stage == "distill" else Architecture()
    return Manifest(
        workload="contract",
        variant="made",
        stage=trial.stage,
        method=trial.config.method,
        config={},
        source="teacher",
        lineage=("made", "teacher"),
        architecture=role,
        structure={},
        seed=SEED,
    )
