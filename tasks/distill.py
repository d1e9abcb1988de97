"""Stage `distill`: train the workload's student, from its source's outputs or, as a control, from the labels alone.

in      data/models/<source>, data/prepared/{train,validation}.arrow
out     data/models/<variant>
params  workload, seed, gate.metric, distill.<variant>
"""

import torch
from torch import nn

from slimline.artifact.fitted import build_architecture
from slimline.artifact.manifest import Architecture
from slimline.data.prepared import load_split
from slimline.errors import WorkloadError
from slimline.measure.layers import layer_sizes
from slimline.methods import get_method
from slimline.params import ScratchParams, SoftTargetsParams
from slimline.report.page import Table
from slimline.stage import Stage, stage_main
from slimline.training.data import TrainingData
from slimline.training.fit import FitHistory, require_learned
from tasks.missed import note_miss
from tasks.variant import Outcome, load_origin, require_shrunk, save_outcome, training_data


def run(
    student: nn.Module, teacher: nn.Module, config: SoftTargetsParams | ScratchParams, data: TrainingData
) -> tuple[nn.Module, FitHistory]:
    """The trained student, and its history."""
    return get_method("distill", config.method)(student, teacher, config, data=data)


def asked(config: SoftTargetsParams | ScratchParams) -> str:
    """The config in a sentence."""
    if isinstance(config, ScratchParams):
        return f"A control for {config.control_of}: the same student and budget, labels alone."
    soft = f"{1 - config.alpha:g} of the divergence from {config.source} at temperature {config.temperature:g}"
    return f"Loss: {config.alpha:g} of that on the labels and {soft}."


def student_table(student: nn.Module) -> Table:
    """The student's layers."""
    rows = tuple((name, size.shape_text, size.parameters) for name, size in layer_sizes(student).items())
    return Table("The student, layer by layer", ("layer", "weight", "parameters"), rows)


def _built(stage: Stage, architecture: Architecture) -> nn.Module:
    try:
        return build_architecture(stage.workload, architecture)
    except WorkloadError as error:
        raise WorkloadError(f"params.yaml: distill.{stage.variant}.student: {error}") from None


def main(stage: Stage) -> None:
    """Build the student, train it, check that it is smaller than its teacher, save."""
    origin, config = load_origin(stage), stage.config
    architecture = Architecture(role="student", config=config.student)
    torch.manual_seed(stage.params.seed)
    student = _built(stage, architecture)
    require_shrunk(stage, origin.example, origin.source.model, student)
    data = training_data(stage, origin, load_split(stage.workload.samples, "train"))
    model, history = run(student, origin.source.model, config, data)
    require_learned(history, config)
    trained = f"Trained for {len(history.epochs)} epochs; the weights of epoch {history.best_epoch} are kept, chosen on validation."
    outcome = Outcome(model, (asked(config), trained), history, architecture=architecture, tables=(student_table(model),))
    save_outcome(stage, origin, outcome)


if __name__ == "__main__":
    stage_main("distill", main, __doc__, per="variant", on_miss=note_miss)
