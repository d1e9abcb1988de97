"""Train a student on what the teacher's layers give, beside its outputs and the labels.

Jiao et al. 2019, "TinyBERT" (arXiv 1909.10351): a learned projection takes the student's states to the teacher's width. The cosine is
that of Sanh et al. 2019, "DistilBERT" (arXiv 1910.01108).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from slimline.artifact.stand_ins import Skip
from slimline.data.batch import Batch, Tensors
from slimline.data.samples import Samples
from slimline.errors import Impossible, InputError
from slimline.methods.distill.guided import guided
from slimline.methods.edited import Edited, Listing
from slimline.params import HiddenStatesParams
from slimline.training.data import TrainingData
from slimline.training.device import device_of

MASK = "attention_mask"
TINY = 1e-8


class Projected(nn.Module):
    """A student that notes what some of its modules gave last, projected to other widths: `states`, each [N, …, width]."""

    def __init__(self, student: nn.Module, layers: Sequence[str], widths: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.student, self.layers = student, tuple(layers)
        self.projections = nn.ModuleList(nn.Linear(own, theirs, bias=False) for own, theirs in widths)
        self.states: list[Tensor] = []

    def forward(self, **batch: Tensor) -> Tensors:
        """As the student."""
        outputs, states = run_noting(self.student, self.layers, batch)
        self.states = [project(state) for project, state in zip(self.projections, states, strict=True)] if self.training else []
        return outputs


def hidden_states(student: nn.Module, teacher: nn.Module, config: HiddenStatesParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    loss = that of soft_targets + hidden_weight * the mean distance of the pairs of layers; the validation loss, by which an epoch is
    chosen, is that of soft_targets alone. Places that are filled up (`attention_mask` 0) do not count.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: neither model has a list of layers, or a layer gives no tensor with features last.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    pairs = pairs_of(student, teacher, config)
    example = next(iter(data.validation.batches([slice(0, 2)]))).inputs
    own, theirs = (run_noting(model, names, example)[1] for model, names in zip((student, teacher), zip(*pairs, strict=True), strict=True))
    widths = [(one.shape[-1], other.shape[-1]) for one, other in zip(own, theirs, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)
        projected = Projected(student, [name for name, _ in pairs], widths)
    frozen, wanted = copy.deepcopy(teacher).eval().to(device_of(config.device)), list[Tensor]()
    with guided(data, teacher, config) as (given, loss):

        def noting(outputs: Tensors, batch: Samples) -> Tensor:
            if torch.is_grad_enabled():
                with torch.no_grad():
                    wanted[:] = [*run_noting(frozen, [name for _, name in pairs], batch.inputs)[1], _there(batch.inputs)]
            return loss(outputs, batch)

        def apart(model: nn.Module) -> Tensor:
            states: list[Tensor] = model.states  # type: ignore[assignment]
            parts = [_distance(one, other, wanted[-1], config) for one, other in zip(states, wanted[:-1], strict=True)]
            return config.hidden_weight * torch.stack(parts).mean()

        made, history = given.fitted(projected, config, loss=noting, penalty=apart)
    rows = tuple((one, other, *width) for (one, other), width in zip(pairs, widths, strict=True))
    listing = Listing("Hidden states compared", ("student", "teacher", "width", "teacher's width"), rows)
    return Edited(made.get_submodule("student"), history, listings=(listing,))


def run_noting(model: nn.Module, layers: Sequence[str], batch: Batch) -> tuple[Tensors, list[Tensor]]:
    """A model's outputs, and the first tensor that each of some modules gave."""
    found: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
            found[name] = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))

        return hook

    handles = [model.get_submodule(name).register_forward_hook(note(name)) for name in layers]
    try:
        outputs = model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, [found[name] for name in layers]


def longest_list(model: nn.Module) -> list[str]:
    """The names of the entries of a model's longest list of modules, without those that were dropped.

    Raises:
        StageError: it has none.
    """
    lists = {name: layers for name, layers in model.named_modules() if isinstance(layers, nn.ModuleList) and len(layers)}
    if not lists:
        raise Impossible("distill: the model has no list of layers; name student_layers and teacher_layers")
    name = max(lists, key=lambda name: len(lists[name]))
    return [f"{name}.{place}" for place, layer in enumerate(lists[name]) if not isinstance(layer, Skip)]


def pairs_of(student: nn.Module, teacher: nn.Module, config: HiddenStatesParams) -> list[tuple[str, str]]:
    """Which module of the student is compared with which of the teacher.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: none are named, and one of the models has no list of layers.
    """
    if config.student_layers:
        for key, model, names in (("student_layers", student, config.student_layers), ("teacher_layers", teacher, config.teacher_layers)):
            if unknown := sorted(set(names) - {name for name, _ in model.named_modules()}):
                raise InputError(f"distill: {key}: {unknown[0]!r} names no module of the {key.partition('_')[0]}")
        return list(zip(config.student_layers, config.teacher_layers, strict=True))
    own, theirs = longest_list(student), longest_list(teacher)
    return [(name, theirs[(place + 1) * len(theirs) // len(own) - 1]) for place, name in enumerate(own)]


def _there(inputs: Batch) -> Tensor:
    found = inputs.get(MASK)
    return torch.empty(0) if found is None else found


def _distance(own: Tensor, theirs: Tensor, there: Tensor, config: HiddenStatesParams) -> Tensor:
    """Of states [N, …, width] at the places that count."""
    own, theirs = own.float(), theirs.float()
    if there.numel() and own.shape[:-1] == there.shape:
        own, theirs = own[there.bool()], theirs[there.bool()]
    if config.distance == "cosine":
        return (1 - functional.cosine_similarity(own, theirs, dim=-1)).mean()
    return (own - theirs).square().mean() / theirs.square().mean().clamp(min=TINY)
