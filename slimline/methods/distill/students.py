"""The student that a config asks for: the workload's own, its source with fewer layers or narrower ones, or a variant as it is."""

import copy
from dataclasses import dataclass

from torch import nn

from slimline.artifact.fitted import Builds, build_architecture
from slimline.artifact.manifest import Architecture
from slimline.data.batch import Batch
from slimline.errors import WorkloadError
from slimline.methods.distill.derived import derived
from slimline.methods.distill.fewer_layers import fewer_layers
from slimline.params import StudentTraining


@dataclass(frozen=True)
class Student:
    """A student before it learns, and how it is built; None where it is described as an edit of its source."""

    model: nn.Module
    architecture: Architecture | None = None


def student_of(workload: Builds, config: StudentTraining, source: nn.Module, example: Batch) -> Student:
    """Build it. Shares of width and depth are the workload's own where its build_student takes them, else cut out of the source.

    Raises:
        InputError: the workload refuses the config, or source_layers asks for more layers than there are.
        StageError: the source has no such layers, blocks or channels.
    """
    if config.student_variant is not None:
        return Student(copy.deepcopy(source))
    if config.source_layers is not None:
        return Student(fewer_layers(source, config.source_layers, example))
    if config.shape is not None and not takes(workload, config):
        return Student(derived(source, config.shape, example))
    architecture = Architecture(role="student", config=config.student)
    return Student(build_architecture(workload, architecture), architecture)


def takes(workload: Builds, config: StudentTraining) -> bool:
    """Whether the workload's build_student knows `student`: it does not refuse it, nor gives what it gives without."""
    try:
        asked = _shapes(build_architecture(workload, Architecture(role="student", config=config.student)))
    except WorkloadError:
        return False
    try:
        return asked != _shapes(build_architecture(workload, Architecture(role="student")))
    except WorkloadError:
        return True


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
