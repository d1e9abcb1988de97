"""Stage `distill`: train the workload's student, from its source's outputs or, as a control, from the labels alone.

in      data/models/<source>, data/prepared/{train,validation}.arrow; test.arrow, from which written texts are kept apart
out     data/models/<variant>
params  workload, seed, gate.metric, distill.<variant>
"""

from dataclasses import replace

import torch
from torch import nn

from slimline.artifact.fitted import build_architecture
from slimline.artifact.manifest import Architecture
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.errors import InputError, WorkloadError
from slimline.measure.layers import layer_sizes
from slimline.methods import get_method
from slimline.methods.distill.cost import steps_of_equal_compute
from slimline.methods.distill.fewer_layers import fewer_layers
from slimline.methods.edited import Edited
from slimline.params import HiddenStatesParams, ScratchParams, SequenceParams, StudentTraining
from slimline.params.distill import GuidedTraining
from slimline.report.page import Table
from slimline.stage import Stage, stage_main
from slimline.training.data import TrainingData
from slimline.training.fit import require_learned, steps_per_epoch
from tasks.missed import note_miss
from tasks.variant import Origin, Outcome, load_origin, require_shrunk, save_outcome, training_data


def run(student: nn.Module, teacher: nn.Module, config: StudentTraining, data: TrainingData) -> Edited:
    """The trained student, its history, and what the method has to tell."""
    made: Edited = get_method("distill", config.method)(student, teacher, config, data=data)
    return made


def asked(config: StudentTraining) -> str:
    """The config in a sentence."""
    if isinstance(config, ScratchParams):
        return f"A control for {config.control_of}: the same student and budget, labels alone."
    if isinstance(config, SequenceParams):
        real = f", with {config.real:.0%} of real windows among them" if config.real else ""
        return f"Trained on {config.texts} windows that {config.source} wrote at temperature {config.temperature:g}{real}."
    assert isinstance(config, GuidedTraining)
    soft = f"{1 - config.alpha:g} of the divergence from {config.source} at temperature {config.temperature:g}"
    hidden = (
        f", and {config.hidden_weight:g} times the {config.distance} of hidden states" if isinstance(config, HiddenStatesParams) else ""
    )
    return f"Loss: {config.alpha:g} of that on the labels and {soft}{hidden}."


def with_equal_budget(stage: Stage, student: nn.Module, teacher: nn.Module, data: TrainingData) -> tuple[StudentTraining, tuple[str, ...]]:
    """The config, of a control of equal compute with as many steps as that gives, and what there is to say of it."""
    config: StudentTraining = stage.config
    if not isinstance(config, ScratchParams) or config.equal == "steps":
        return config, ()
    studied = stage.params.distill[config.control_of]
    one = head(data.train, 1)
    steps = steps_of_equal_compute(student, teacher, studied, one, data.objective, len(data.train))
    before = studied.epochs * steps_per_epoch(len(data.train), studied)
    told = f"It has {steps:,} steps, where {config.control_of} had {before:,} and its teacher: as many multiply-accumulates in all."
    return config.model_copy(update={"steps": steps}), (told,)


def student_table(student: nn.Module) -> Table:
    """The student's layers."""
    rows = tuple((name, size.shape_text, size.parameters) for name, size in layer_sizes(student).items())
    return Table("The student, layer by layer", ("layer", "weight", "parameters"), rows)


def _built(stage: Stage, architecture: Architecture) -> nn.Module:
    try:
        return build_architecture(stage.workload, architecture)
    except WorkloadError as error:
        raise WorkloadError(f"params.yaml: distill.{stage.variant}.student: {error}") from None


def _student(stage: Stage, origin: Origin) -> tuple[nn.Module, Architecture | None]:
    """The untrained student and how it is built; or the source with fewer layers, which is described as an edit of it."""
    config = stage.config
    if config.source_layers is not None:
        try:
            return fewer_layers(origin.source.model, config.source_layers, origin.example), None
        except InputError as error:
            raise InputError(f"params.yaml: distill.{stage.variant}: {error}") from None
    architecture = Architecture(role="student", config=config.student)
    return _built(stage, architecture), architecture


def main(stage: Stage) -> None:
    """Build the student, train it, check that it is smaller than its teacher, save."""
    origin = load_origin(stage)
    torch.manual_seed(stage.params.seed)
    student, architecture = _student(stage, origin)
    require_shrunk(stage, origin.example, origin.source.model, student)
    data = training_data(stage, origin, load_split(stage.workload.samples, "train"))
    if isinstance(stage.config, SequenceParams):
        data = replace(data, held_out=load_split(stage.workload.samples, "test"))
    config, budget = with_equal_budget(stage, student, origin.source.model, data)
    made = run(student, origin.source.model, config, data)
    if architecture is not None:
        require_learned(made.history, config)
    history = made.history
    trained = f"Trained for {len(history.epochs)} epochs; the weights of epoch {history.best_epoch} are kept, chosen on validation."
    tables = (*(Table(**vars(listing)) for listing in made.listings), student_table(made.model))
    summary = (asked(config), *budget, trained)
    details = {**made.details, **({"steps": config.steps} if budget else {})}
    outcome = Outcome(made.model, summary, history, architecture=architecture, tables=tables, notes=made.notes, details=details)
    save_outcome(stage, origin, outcome)


if __name__ == "__main__":
    stage_main("distill", main, __doc__, per="variant", on_miss=note_miss)
