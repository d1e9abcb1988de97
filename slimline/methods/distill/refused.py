"""What a distillation method cannot do with a student and a teacher: told before any time is spent."""

from torch import nn

from slimline.data.samples import head
from slimline.methods.distill.assistant import assistants
from slimline.methods.distill.attention_transfer import WITH_PLACES
from slimline.methods.distill.dkd import require_classes
from slimline.methods.distill.pairing import deep_pairs, deepest_pair, pairs_of
from slimline.methods.distill.scratch import require_labels
from slimline.methods.distill.sequence import require_text
from slimline.methods.distill.synthetic import require_kind
from slimline.params import (
    AssistantParams,
    AttentionTransferParams,
    DkdParams,
    HiddenStatesParams,
    HintsParams,
    RelationalParams,
    ScratchParams,
    SequenceParams,
    StudentTraining,
)
from slimline.params.student import GuidedTraining
from slimline.training.data import TrainingData


def require_possible(config: StudentTraining, student: nn.Module, teacher: nn.Module, data: TrainingData) -> None:
    """Hold both nets and the objective to what the method, and the samples that it makes up, need.

    Raises:
        InputError: the config names modules that are not there.
        StageError: the method cannot teach this student by this teacher, or not for this objective.
    """
    example = head(data.validation, 2).inputs
    if isinstance(config, GuidedTraining) and config.synthetic:
        require_kind(teacher, example, data, config.synthetic)
    if isinstance(config, ScratchParams):
        require_labels(data.objective)
    elif isinstance(config, SequenceParams):
        require_text(data.objective)
    elif isinstance(config, DkdParams):
        require_classes(data.objective)
    elif isinstance(config, HiddenStatesParams):
        pairs_of(student, teacher, config, example)
    elif isinstance(config, HintsParams):
        deep_pairs(student, teacher, config, example)
    elif isinstance(config, AttentionTransferParams):
        deep_pairs(student, teacher, config, example, least=WITH_PLACES)
    elif isinstance(config, RelationalParams):
        deepest_pair(student, teacher, config, example)
    elif isinstance(config, AssistantParams):
        assistants(teacher, config, example)
