"""Every variant of params.yaml tried on the untrained net with a few real samples: can its method do that to a net built like this one?

A method does here what it does later, at its strength, with the least training (least_work.py); chains follow their sources. Refused is
what the structure of the net forbids (`Impossible`, `InputError`). What a method misses by values, which training will change, is no
refusal: it is a result of the line.
"""

import copy
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.fitted import Builds, build_architecture
from slimline.artifact.manifest import Architecture
from slimline.artifact.structure import replay, structure_edits
from slimline.calibration.least_work import least_work
from slimline.calibration.statistics import CalibrationStatistics, collect_statistics
from slimline.data.batch import Batch, take, tensors
from slimline.data.samples import Samples
from slimline.data.signature import Signature
from slimline.errors import Diverged, Impossible, InputError, StageError
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.distill.learner import learner
from slimline.methods.distill.refused import require_possible
from slimline.methods.distill.students import student_of
from slimline.methods.exported import REFUSALS, reason_of
from slimline.methods.layer_calls import WATCHED
from slimline.methods.macs import macs
from slimline.methods.quantize.plan import Plan, require_some
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.recalibrate import recalibrated_over
from slimline.methods.transposed import with_linear_layers
from slimline.objectives import Objective
from slimline.params import TEACHER, Params, VariantParams

WORKS, REFUSED, LATER = "works", "refused", "only training will tell"
WAY_OUT = "change it in params.yaml, or remove the variant"
NOT_TRIED = "its source {!r} could not be tried"


@dataclass(frozen=True)
class Trial:
    """What was tried, by its place in params.yaml, how it ended (WORKS, REFUSED or LATER), what was said, and how long it took."""

    what: str
    outcome: str
    said: str
    seconds: float


@dataclass(frozen=True)
class Tried:
    """An untrained variant: its model, the architecture that it was built by, and its plan where it is quantized."""

    model: nn.Module
    architecture: Architecture = field(default_factory=Architecture)
    plan: Plan | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Trials:
    """What a net is tried with: the workload that builds it, params, and a few samples, which stand for all splits.

    `students` looks at an untrained student, as the teacher was looked at: sentences, or none. `signature` says which axes vary.
    """

    workload: Builds
    params: Params
    samples: Samples
    objective: Objective
    metric: str
    students: Callable[[Architecture], tuple[str, ...]]
    signature: Signature | None = None

    def of(self, variants: Collection[str], teacher: nn.Module) -> Iterator[tuple[Trial, str, Tried | None]]:
        """(trial, variant, what came of it) for each, sources first; None where there is nothing that others could start from."""
        known: dict[str, Tried | None] = {TEACHER: Tried(teacher)}
        for name in sorted(dict.fromkeys(one for one in variants if one != TEACHER), key=lambda name: len(self.params.lineage(name))):
            section, config = self.params.variants[name]
            source, where, began = known[config.source], f"{section}.{name}", time.perf_counter()
            if source is None:
                trial, known[name] = Trial(where, LATER, NOT_TRIED.format(config.source), 0.0), None
            else:
                outcome, said, known[name] = self._tried(section, name, config, source, teacher)
                trial = Trial(where, outcome, said, time.perf_counter() - began)
            yield trial, name, known[name]

    def _tried(self, section: str, name: str, config: VariantParams, source: Tried, teacher: nn.Module) -> tuple[str, str, Tried | None]:
        try:
            made = self._student(config, source, teacher) if section == "distill" else self._made(section, config, source)
        except (Impossible, InputError) as error:
            return REFUSED, "\n".join(placed(line, section, name) for line in str(error).splitlines()), None
        except (StageError, Diverged) as error:
            return LATER, str(error), None
        except REFUSALS as error:  # of one variant, whose stage will say it: the others go on
            return LATER, f"{type(error).__name__}: {reason_of(error)}", None
        return WORKS, "", made

    def _made(self, section: str, config: VariantParams, source: Tried) -> Tried:
        """What the method makes of its source, held to the outputs' shapes, and stored and built again in memory."""
        origin = with_linear_layers(source.model) if section == "quantize" else source.model
        data, least = self._data(origin), least_work(config)
        method = get_method(section, config.method)
        if section == "quantize":
            statistics = data.collect(origin) if config.needs_data else None
            made: Quantized = method(origin, least, statistics=statistics, data=data)
            require_some(made.plan, origin, getattr(config, "keep_float", ()), data)
            _require_alike(simulate(made.model, made.plan, made.grids), origin, data.example)
            found = Tried(made.model, source.architecture, made.plan, made.grids)
        else:
            edited = method(source.model, least, data=data)
            model = edited.model if edited.history.epochs else recalibrated_over(edited.model, data.train)
            _require_alike(model, source.model, data.example)
            found = Tried(model, source.architecture)
        self._require_stored(found)
        return found

    def _student(self, config: Any, source: Tried, teacher: nn.Module) -> Tried:
        """The student, and whether its method can teach it: by the teacher where it is a variant itself."""
        made, who = self._built_student(config, source), teacher if config.student_variant else source.model
        some = take(self.samples.inputs, slice(0, 2))
        student = learner(made.model, made.plan, made.grids, some).model if config.student_variant else made.model
        require_possible(config, student, who, self._data(who))
        return made

    def _built_student(self, config: Any, source: Tried) -> Tried:
        try:
            made = student_of(self.workload, config, source.model, take(self.samples.inputs, slice(0, 2)))
            if made.architecture is None:
                kept = (source.plan, source.grids) if config.student_variant else (None, {})
                found = Tried(made.model, source.architecture, *kept)
                self._require_stored(found)
                return found
            _require_alike(made.model, source.model, take(self.samples.inputs, slice(0, 2)))
            problems = self.students(made.architecture)
        except InputError as error:
            named = str(error).startswith("source_layers")
            raise InputError(str(error) if named else f"student: {error}") from None
        if problems:
            raise InputError("\n".join(f"student: {problem}" for problem in problems))
        return Tried(made.model, made.architecture)

    def _require_stored(self, made: Tried) -> None:
        built = build_architecture(self.workload, made.architecture)
        again = replay(built, structure_edits(built, made.model))
        again.load_state_dict(made.model.state_dict(), strict=True)

    def _data(self, source: nn.Module) -> MethodData:
        """As the stages give it, of a few samples; layers mind being changed alike, and MACs stand for a clock."""
        inputs = self.samples.inputs
        layers = [name for name, layer in source.named_modules() if isinstance(layer, WATCHED)]
        example = take(inputs, slice(0, 2))

        def collect(model: nn.Module) -> CalibrationStatistics:
            return collect_statistics(model, inputs, len(self.samples))

        return MethodData(
            train=self.samples,
            validation=self.samples,
            objective=self.objective,
            metric=self.metric,
            seed=self.params.seed,
            augment=getattr(self.workload, "augment", None),
            calibration=inputs,
            example=example,
            signature=self.signature,
            collect=collect,
            sensitivity=lambda _kind: dict.fromkeys(layers, 1.0),
            initial=lambda: copy.deepcopy(source),
            latency_ms=lambda model: float(macs(model, example)),
        )


def refusals(trials: Sequence[Trial]) -> tuple[str, ...]:
    """What cannot work, a line each."""
    return tuple(line for trial in trials if trial.outcome == REFUSED for line in trial.said.splitlines())


def placed(line: str, section: str, variant: str) -> str:
    """A method's sentence with its place in params.yaml, and a way out where it names none."""
    text = line.removeprefix("params.yaml: ")
    for start in (f"{section}.{variant}: ", f"{section}: "):
        text = text.removeprefix(start)
    return f"params.yaml: {section}.{variant}: {text}{'' if ';' in text else f'; {WAY_OUT}'}"


def _require_alike(model: nn.Module, source: nn.Module, example: Batch) -> None:
    """Hold a net to giving what its source gives, in shape, for the same inputs."""
    before = _shapes(source, example)
    try:
        after = _shapes(model, example)
    except REFUSALS as error:
        raise Impossible(f"it does not run on what its source takes ({', '.join(example)}): {reason_of(error)}; {WAY_OUT}") from error
    if before != after:
        raise Impossible(f"it gives outputs of shape {_shown(after)}, its source {_shown(before)}; {WAY_OUT}")


def _shapes(model: nn.Module, example: Batch) -> dict[str, tuple[int, ...]]:
    with torch.no_grad():
        return {name: tuple(value.shape) for name, value in tensors(copy.deepcopy(model).eval()(**example)).items()}


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(sizes)}".lstrip() for name, sizes in shapes.items())
