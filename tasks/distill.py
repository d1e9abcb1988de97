"""Stage `distill`: train a student from its source's outputs or, as a control, from the labels alone; say what the teacher was worth.

in      data/models/<source>, data/models/teacher, data/prepared/{train,validation}.arrow; test.arrow, from which written texts are kept
        apart; data/taught, in place of asking the teacher
out     data/models/<variant>
params  workload, seed, gate.metric, gate.confidence, distill.<variant>
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.errors import InputError, WorkloadError
from slimline.measure.layers import layer_sizes
from slimline.methods import get_method
from slimline.methods.distill.alone import of_steps, steps_of, student_steps
from slimline.methods.distill.cost import steps_of_equal_compute
from slimline.methods.distill.learner import Learner, learner
from slimline.methods.distill.students import Student, student_of
from slimline.methods.edited import Edited
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.plan import Plan
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes
from slimline.methods.recalibrate import recalibrated_over
from slimline.params import TEACHER, ScratchParams, StudentTraining
from slimline.params.student import GuidedTraining
from slimline.report.asked import asked
from slimline.report.page import Table
from slimline.stage import Stage, stage_main
from slimline.training.data import TrainingData
from slimline.training.fit import require_learned
from tasks.known import TAUGHT, known_answers
from tasks.outcome import Origin, Outcome, Sizes
from tasks.teacher_worth import teacher_worth
from tasks.variant import load_origin, note_missed, require_shrunk, save_outcome, training_data

MODELS = Path("data/models")
STOOD = "The answers of {} for whole splits are those that the stage teach keeps."


def run(student: nn.Module, teacher: nn.Module, config: StudentTraining, data: TrainingData) -> Edited:
    """The trained student, its history, and what the method has to tell."""
    made: Edited = get_method("distill", config.method)(student, teacher, config, data=data)
    return made


def with_equal_budget(stage: Stage, student: nn.Module, teacher: nn.Module, data: TrainingData) -> tuple[StudentTraining, tuple[str, ...]]:
    """The config, of a control with as many steps as its student had or as equal compute gives, and what there is to say of it."""
    config: StudentTraining = stage.config
    if not isinstance(config, ScratchParams):
        return config, ()
    studied, samples = stage.params.distill[config.control_of], len(data.train)
    before = student_steps(studied, samples)
    if config.equal == "steps":
        asked = of_steps(config, before)
        return asked, () if before == steps_of(config, samples) else (f"It has {asked.steps:,} steps, as {config.control_of} had.",)
    anew, some = data.augment is not None, head(data.train, 2)
    asked = of_steps(config, steps_of_equal_compute(student, teacher, studied, some, data.objective, samples, anew=anew))
    told = f"It has {asked.steps:,} steps, where {config.control_of} had {before:,} and its teacher: as many multiply-accumulates in all."
    return asked, (told,)


def student_table(student: nn.Module) -> Table:
    """The student's layers."""
    rows = tuple((name, size.shape_text, size.parameters) for name, size in layer_sizes(student).items())
    return Table("The student, layer by layer", ("layer", "weight", "parameters"), rows)


def _student(stage: Stage, origin: Origin, data: TrainingData) -> Student:
    """The student before it learns; cut out of its source, its batch norms see what the source's saw.

    Raises:
        InputError: as `student_of`, with the place in params.yaml.
    """
    where = f"params.yaml: distill.{stage.variant}"
    try:
        made = student_of(stage.workload, stage.config, origin.source.model, origin.example)
    except WorkloadError as error:
        raise WorkloadError(f"{where}.student: {error}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    is_cut = made.architecture is None and stage.config.shape is not None
    return replace(made, model=recalibrated_over(made.model, data.train)) if is_cut else made


def _sizes(origin: Origin, model: nn.Module, plan: Plan, learning: Learner) -> Sizes:
    """Of a quantized variant, its source and the teacher, every parameter and buffer counted as planned."""

    def stored(one: nn.Module, its: Plan) -> int:
        return stored_bytes(one, its, uses_of(one, origin.example), learning.grids if its is not NO_PLAN else {})

    return Sizes(stored(model, plan), stored(origin.teacher.model, NO_PLAN), stored(learning.plain, learning.plan or NO_PLAN))


def outcome_of(origin: Origin, learning: Learner, made: Edited) -> Outcome:
    """What is stored of a trained student: plain weights, and of a quantized one its plan, by which it is judged."""
    model, plan = learning.learned(made.model)
    if plan is None:
        return Outcome(model, (), made.history)
    twin = simulate(model, plan, learning.grids)
    sizes = _sizes(origin, model, plan, learning)
    return Outcome(model, (), made.history, plan=plan, grids=learning.grids, judged=twin, sizes=sizes, details={"plan": plan})


def _as_judged(origin: Origin) -> Origin:
    """Of a quantized source what its plan makes of it."""
    source = origin.source
    return (
        origin if source.plan is None else replace(origin, source=replace(source, model=simulate(source.model, source.plan, source.grids)))
    )


def _with_answers(stage: Stage, teacher: nn.Module, data: TrainingData) -> TrainingData:
    """The data with what `teach` keeps of the teacher, for what learns from answers."""
    name = stage.config.taught_by(TEACHER)
    if not isinstance(stage.config, GuidedTraining):
        return data
    return replace(data, known=known_answers(TAUGHT / name, MODELS / name, teacher, data))


def main(stage: Stage) -> None:
    """Build the student, train it, check that it is smaller than its teacher, save."""
    origin, is_variant = load_origin(stage), stage.config.student_variant is not None
    teacher = origin.teacher.model if is_variant else origin.source.model
    data = _with_answers(stage, teacher, training_data(stage, origin, load_split(stage.workload.samples, "train")))
    torch.manual_seed(stage.params.seed)
    student = _student(stage, origin, data)
    if not is_variant:
        require_shrunk(stage, origin.example, teacher, student.model)
    plan, grids = (origin.source.plan, origin.source.grids) if is_variant else (None, {})
    is_fresh = student.architecture is not None
    learning = Learner(student.model, student.model) if is_fresh else learner(student.model, plan, grids, origin.example)
    if stage.config.method == "sequence":
        data = replace(data, held_out=load_split(stage.workload.samples, "test"))
    config, budget = with_equal_budget(stage, learning.model, teacher, data)
    made = run(learning.model, teacher, config, data)
    if is_fresh:
        require_learned(made.history, config)
    worth = teacher_worth(stage, learning.model, teacher, made, data)
    history = made.history
    trained = f"Trained for {len(history.epochs)} epochs; the weights of epoch {history.best_epoch} are kept, chosen on validation."
    told = outcome_of(origin, learning, made)
    details = {**told.details, **made.details, **({"steps": config.steps} if budget else {}), **(worth.details or {})}
    outcome = replace(
        told,
        architecture=student.architecture,
        summary=(asked(config, TEACHER), *budget, trained, *worth.summary),
        tables=(*worth.tables, *(Table(**vars(listing)) for listing in made.listings), student_table(told.model)),
        figures=worth.figures,
        notes=(*made.notes, *([STOOD.format(config.taught_by(TEACHER))] if data.known else [])),
        details=details,
    )
    save_outcome(stage, _as_judged(origin), outcome)


if __name__ == "__main__":
    stage_main("distill", main, __doc__, per="variant", on_miss=note_missed)
