"""What the look at a project works with: the untrained teacher, a few real samples, and what they say of its inputs."""

import dataclasses
import functools
import json
import re
from dataclasses import dataclass

from torch import nn

from slimline.artifact.fitted import build_architecture
from slimline.artifact.manifest import Architecture
from slimline.artifact.plain_weights import make_plain_
from slimline.calibration.look import look
from slimline.calibration.trials import Trials
from slimline.data.batch import Batch
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.data.signature import Signature
from slimline.stage import Stage
from slimline.training.fit import held_together
from slimline.workloads.guarded import Guarded, guarded
from tasks.signature import signature_from

NUMBERED = re.compile(r"\.\d+[.\"]|\"layers\": \[")
"""A layer with a number in its name, or chosen by it."""
FEW = 4
LOOKED_AT = 64
"""Samples of which an untrained net is looked at with a few."""
WITHOUT_EXPORT = ("eager", "torchscript")
"""Targets that take a net as it is or trace it."""


@dataclass(frozen=True)
class Untrained:
    """The teacher as it is compressed, plain; how its variants are tried; what it takes; and why nothing can be tried, or nothing."""

    teacher: nn.Module
    trials: Trials
    signature: Signature
    some: Batch
    exports: bool

    def problems(self, workload: Guarded) -> tuple[str, ...]:
        """What stands in the way of training, compressing and storing the teacher."""
        nets = workload.build_teacher(), workload.build_teacher()
        found = look(*nets, self.some, exports=self.exports, signature=self.signature)
        return tuple(f"workload {workload.name!r}: the net of build_teacher(): {problem}" for problem in found)


def shallow(stage: Stage) -> Stage:
    """The stage with a few of the layers of a large Hugging Face net, which are all alike, where no variant names one by its number."""
    make = getattr(stage.workload.their, "shallow", None)
    asked = json.dumps([config.model_dump(mode="json") for _, config in stage.params.variants.values()])
    if make is None or NUMBERED.search(asked) or (their := make()) is None:
        return stage
    return dataclasses.replace(stage, given=guarded(stage.params.workload, their))


def untrained(stage: Stage) -> Untrained:
    """Build the teacher and read the samples of the stage `data`."""
    workload, params = stage.workload, stage.params
    validation, teacher = load_split(workload.samples, "validation"), workload.build_teacher()
    signature, some = signature_from(teacher, validation), head(validation, held_together(teacher, validation, LOOKED_AT))
    exports = bool(set(params.deploy.targets) - set(WITHOUT_EXPORT))

    @functools.cache
    def student(described: str) -> tuple[str, ...]:
        net, again = (build_architecture(workload, Architecture.model_validate_json(described)) for _ in range(2))
        return look(net, again, some.inputs, exports=exports, signature=signature)

    def students(architecture: Architecture) -> tuple[str, ...]:
        """A control has the student of what it controls: each is looked at once."""
        return student(architecture.model_dump_json())

    make_plain_(teacher)
    trials = Trials(workload, params, some.take(slice(0, FEW)), workload.objective, stage.metric, students, signature)
    return Untrained(teacher.eval(), trials, signature, some.inputs, exports)
