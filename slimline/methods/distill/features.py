"""What layers give, noted while a model runs, and a training in which layers of student and teacher are compared.

Features [N, …, width] have their channels last, whatever the layer gives: those of feature maps and of 1-d convolutions are moved there.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from slimline.data.batch import Batch, Tensors
from slimline.data.padding import there_of
from slimline.data.samples import Samples, head
from slimline.methods.distill.guided import guided
from slimline.methods.edited import Edited, Listing
from slimline.methods.layer_calls import hooked
from slimline.params.distill_features import FeatureTraining
from slimline.training.data import TrainingData
from slimline.training.device import device_of
from slimline.training.order import steps_per_epoch

Pairs = Sequence[tuple[str, str]]
"""Modules of the student, each with the one of the teacher that it is compared with."""
Apart = Callable[[Tensor, Tensor], Tensor]
"""(features of the student's layer, of the teacher's) -> how far they are apart, a scalar."""
Fit = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(features of the student's layer, of the teacher's, which places are there) -> both as they are compared."""
POOLS: dict[int, Callable[..., Tensor]] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
"""By how many dimensions places have."""


class Noted(nn.Module):
    """A student that notes what some of its modules gave last, projected to other widths where those are given: `states`."""

    def __init__(self, student: nn.Module, layers: Sequence[str], widths: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.student, self.layers = student, tuple(layers)
        self.projections = nn.ModuleList(nn.Linear(own, theirs, bias=False) for own, theirs in widths)
        self.states: list[Tensor] = []

    def forward(self, **batch: Tensor) -> Tensors:
        """As the student."""
        outputs, states = run_noting(self.student, self.layers, batch)
        if self.projections:
            states = [project(state) for project, state in zip(self.projections, states, strict=True)]
        self.states = states if self.training else []
        return outputs


@dataclass(frozen=True)
class Comparison:
    """Which layers are compared, how, and how much that counts; `projects` where widths are to be made alike, `fit` makes places alike."""

    pairs: Pairs
    apart: Apart
    weight: float
    title: str
    fit: Fit
    projects: bool = True


def trained_beside(
    student: nn.Module, teacher: nn.Module, config: FeatureTraining, comparison: Comparison, *, data: TrainingData, epochs_before: int = 0
) -> Edited:
    """The student trained on the teacher's outputs and on its layers, which run in every step; both are left as they are.

    The validation loss, by which an epoch is chosen, is that of the outputs alone. Places that are filled up (`attention_mask` 0) do not
    count. `epochs_before` are on the layers alone.
    """
    own, theirs = ([name for name, _ in comparison.pairs], [name for _, name in comparison.pairs])
    example = head(data.validation, 2).inputs
    given = shapes_of(student, own, example), shapes_of(teacher, theirs, example)
    widths = [(given[0][one][-1], given[1][other][-1]) for one, other in comparison.pairs]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)
        noted: nn.Module = Noted(student, own, widths if comparison.projects else ())
    frozen, wanted = copy.deepcopy(teacher).eval().to(device_of(config.device)), list[Tensor]()

    def look_at(batch: Samples) -> None:
        if torch.is_grad_enabled():
            with torch.no_grad():
                wanted[:] = [*run_noting(frozen, theirs, batch.inputs)[1], there_of(batch.inputs)]

    def penalty(model: nn.Module) -> Tensor:
        given: list[Tensor] = model.states  # type: ignore[assignment]
        found = [comparison.apart(*comparison.fit(one, other, wanted[-1])) for one, other in zip(given, wanted[:-1], strict=True)]
        return comparison.weight * torch.stack(found).mean()

    with guided(data, teacher, config) as guidance:

        def loss(outputs: Tensors, batch: Samples) -> Tensor:
            look_at(batch)
            return guidance.loss(outputs, batch)

        def nothing(outputs: Tensors, batch: Samples) -> Tensor:
            return 0.0 * loss(outputs, batch)

        if epochs_before:
            steps = epochs_before * steps_per_epoch(len(guidance.data.train), config)
            first = config.model_copy(update={"epochs": epochs_before, "steps": steps, "patience": None})
            noted = guidance.data.fitted(noted, first, loss=nothing, penalty=penalty, keep="last")[0]
        made, history = guidance.fitted(noted, config, loss=loss, penalty=penalty)
    rows = tuple((one, other, *width) for (one, other), width in zip(comparison.pairs, widths, strict=True))
    listing = Listing(comparison.title, ("student", "teacher", "width", "teacher's width"), rows)
    return Edited(made.get_submodule("student"), history, listings=(listing,))


def shapes_of(model: nn.Module, layers: Sequence[str], example: Batch) -> dict[str, tuple[int, ...]]:
    """The shapes of the features of some modules, those that gave any: name -> [N, …, width]."""
    with torch.no_grad():
        return {name: tuple(state.shape) for name, state in _noted(copy.deepcopy(model).eval(), layers, example)[1].items()}


def run_noting(model: nn.Module, layers: Sequence[str], batch: Batch) -> tuple[Tensors, list[Tensor]]:
    """A model's outputs, and the features of the first tensor that each of some modules gave."""
    outputs, found = _noted(model, layers, batch)
    return outputs, [found[name] for name in layers]


def _noted(model: nn.Module, layers: Sequence[str], batch: Batch) -> tuple[Tensors, dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
            if leaves := [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]:
                found[name] = channels_last(leaves[0], module)

        return hook

    handles = [model.get_submodule(name).register_forward_hook(note(name)) for name in layers]
    with hooked(handles):
        outputs = model(**batch)
    return outputs, found


def channels_last(state: Tensor, module: nn.Module) -> Tensor:
    """What a module gave as features: maps [N, width, …] of images, and of modules that end in a 1-d convolution, as [N, …, width]."""
    working = [inner for inner in module.modules() if isinstance(inner, nn.Linear | nn.LayerNorm | nn.RNNBase | _ConvNd | _BatchNorm)]
    is_map = state.dim() > 3 or (state.dim() == 3 and bool(working) and isinstance(working[-1], _ConvNd | _BatchNorm))
    return state.movedim(1, -1) if is_map else state


def alike(own: Tensor, theirs: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many places, the larger averaged over what is one of the smaller; filled up places of both are zero."""
    own, theirs = own.float(), theirs.float()
    if there.numel() and own.shape[:-1] == there.shape == theirs.shape[:-1]:
        kept = there.unsqueeze(-1).to(own.dtype)
        return own * kept, theirs * kept
    if own.shape[1:-1] == theirs.shape[1:-1]:
        return own, theirs
    places = tuple(min(sizes) for sizes in zip(own.shape[1:-1], theirs.shape[1:-1], strict=True))
    return _pooled(own, places), _pooled(theirs, places)


def _pooled(state: Tensor, places: tuple[int, ...]) -> Tensor:
    if state.shape[1:-1] == places:
        return state
    first = state.movedim(-1, 1)
    return POOLS[len(places)](first, places).movedim(1, -1)
