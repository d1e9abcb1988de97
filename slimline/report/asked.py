"""What a distilled variant's config asks for, in a sentence for its page."""

import inspect
from collections.abc import Callable
from typing import Any

from slimline.params import (
    AssistantParams,
    AttentionTransferParams,
    DkdParams,
    HiddenStatesParams,
    HintsParams,
    MutualParams,
    RelationalParams,
    ScratchParams,
    SelfParams,
    SequenceParams,
    StudentTraining,
)
from slimline.params.student import GuidedTraining

MADE_UP = {
    "mixup": "mixed between training samples",
    "neighbours": "between training samples that are near each other",
    "noise": "of disturbed training samples",
    "inverted": "made from the teacher's batch norms",
}
BESIDE: dict[type[StudentTraining], Callable[[Any], str]] = {
    HiddenStatesParams: lambda config: f"{config.hidden_weight:g} times the {config.distance} of hidden states",
    HintsParams: lambda config: f"{config.hint_weight:g} times the distance of projected features",
    AttentionTransferParams: lambda config: f"{config.attention_weight:g} times the distance of attention maps",
    RelationalParams: lambda config: f"{config.distance_weight:g} times that of distances and {config.angle_weight:g} of angles",
}
"""What a method adds to the loss of soft targets."""


def asked(config: StudentTraining, teacher: str) -> str:
    """One or two sentences; `teacher` is the variant that teaches where the source is the student."""
    if isinstance(config, ScratchParams):
        return f"A control for {config.control_of}: the same student and budget, labels alone."
    who = config.taught_by(teacher)
    kept = f"{config.source} learns on as it is, its shapes, zeros and rounding kept. " if config.student_variant else ""
    return kept + _loss(config, who)


def _loss(config: StudentTraining, who: str) -> str:
    if isinstance(config, SequenceParams):
        real = f", with {config.real:.0%} of real windows among them" if config.real else ""
        return f"Trained on {config.texts} windows that {who} wrote at temperature {config.temperature:g}{real}."
    if isinstance(config, MutualParams):
        others = f"{config.peer_weight:g} times the mean divergence from the others at temperature {config.temperature:g}"
        return f"{config.peers} peers learned together: the loss on the labels, and {others}. No teacher took part."
    if not isinstance(config, GuidedTraining):  # a method of one's own
        return inspect.cleandoc(type(config).__doc__ or "").partition("\n")[0]
    if isinstance(config, SelfParams):
        return f"Trained {config.generations} times, the first on the labels alone, each other by the one before. {_mixed(config, 'it')}"
    if isinstance(config, AssistantParams):
        shares = ", ".join(f"{shape.width:g} of the width and {shape.depth:g} of the depth" for shape in config.assistants)
        return f"Taught by {who} by way of assistants with {shares}. {_mixed(config, 'the one above')}"
    return _mixed(config, who)


def _mixed(config: GuidedTraining, who: str) -> str:
    of = "divergence"
    if isinstance(config, DkdParams):
        of = f"divergence (right against wrong {config.target_weight:g}, among the wrong {config.other_weight:g} times)"
    soft = f"{1 - config.alpha:g} of the {of} from {who} at temperature {config.temperature:g}"
    beside = BESIDE.get(type(config))
    hidden = f", and {beside(config)}" if beside else ""
    return f"Loss: {config.alpha:g} of that on the labels and {soft}{hidden}.{_made_up(config)}"


def _made_up(config: GuidedTraining) -> str:
    made = config.synthetic
    if made is None:
        return ""
    what = f"{made.samples} samples {MADE_UP[made.kind]}, answered by the teacher"
    return f" Trained on {what}, and on no real one." if made.alone else f" Beside them, {made.weight:g} times, {what}."
