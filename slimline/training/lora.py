"""Train low-rank updates of a model's weights and nothing else, then merge them: the result has the shapes and zeros that it had.

LoRA, Hu et al. 2021, arXiv:2106.09685: W + (alpha / rank) * B A, with B zero at the start. A convolution's weight is taken as the
matrix [outputs, inputs * kernel]. Pruned weights stay zero because the update is masked, as in MaskLoRA of PERP, Zimmer et al. 2023,
arXiv:2312.15230, which also trains biases and norms. Under fake quantization the update is added before the rounding.

QLoRA (Dettmers et al. 2023, arXiv:2305.14314) trains updates beside a rounded base, which a merge would round once more. Here, as in LR-QAT
(Bondarenko et al. 2024, arXiv:2406.06385), weight and update are rounded together, with the gradient of the identity: merged, they lie on
the grid that they were trained on.
"""

import copy
from collections.abc import Callable, Mapping, Set
from math import sqrt
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from slimline.data.samples import Split
from slimline.params.section import LowRankTraining
from slimline.training.fit import fit
from slimline.training.history import FitHistory

NOTHING: Mapping[str, Any] = MappingProxyType({})
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


Rounding = Callable[[Tensor], Tensor]
"""From a weight [outputs, …] to the nearest one that can be stored."""


class LowRankUpdate(nn.Module):
    """The parametrization of one weight: itself plus a low-rank update, zero where `mask` is False."""

    mask: Tensor | None

    def __init__(
        self, weight: Tensor, rank: int, scale: float, mask: Tensor | None, generator: torch.Generator, rounding: Rounding | None = None
    ) -> None:
        """`weight` and `mask` are [outputs, …]; the update counts `scale` times and is zero at first, `rounding` is of their sum."""
        super().__init__()
        self.rounding = rounding
        outputs, inputs = weight.flatten(1).shape
        self.scale = scale
        self.down = nn.Parameter(nn.init.kaiming_uniform_(weight.new_empty(rank, inputs), a=sqrt(5), generator=generator))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its update, [outputs, …]."""
        update = (self.up @ self.down).view_as(weight) * self.scale
        found = weight + (update if self.mask is None else update * self.mask)
        return found if self.rounding is None else found + (self.rounding(found.detach()) - found.detach())


def fit_updates(
    model: nn.Module,
    train: Split,
    config: LowRankTraining,
    *,
    masks: Mapping[str, Tensor] | None = None,
    trained: Set[str] = frozenset(),
    rounding: Mapping[str, Rounding] = NOTHING,
    seed: int = 0,
    **settings: Any,
) -> tuple[nn.Module, FitHistory]:
    """As `fit`, with `config.lora_rank`: a copy of `model` in evaluation mode with its updates merged, and the history.

    Every parameter of two and more dimensions gets an update; where that would hold no fewer values it is trained itself, unless it is
    rounded. So are those that `config.lora_with` says and those named in `trained`; all others stay as they are. Those that `rounding`
    names are rounded with their update in every step. `settings` are fit's own.
    """
    masks = masks or {}
    student = with_updates(model, config, masks=masks, trained=trained, rounding=rounding, seed=seed)
    own = {name: masks[name] for name, _ in student.named_parameters() if name in masks}
    fitted, history = fit(student, train, config, masks=own, seed=seed, **settings)
    result = copy.deepcopy(model).eval()
    if history.best_epoch:
        result.load_state_dict(_merged(fitted).state_dict())
    return result, history


def with_updates(
    model: nn.Module,
    config: LowRankTraining,
    *,
    masks: Mapping[str, Tensor],
    trained: Set[str] = frozenset(),
    rounding: Mapping[str, Rounding] = NOTHING,
    seed: int = 0,
) -> nn.Module:
    """A frozen copy of `model` in which only updates, and what is trained itself, require gradients; outputs are equal but for rounding."""
    student, rank = copy.deepcopy(model), config.lora_rank or 0
    scale = (config.lora_alpha or rank) / max(rank, 1)
    trained = trained | beside(model, config.lora_with)
    generator, updates = torch.Generator().manual_seed(seed), dict[int, LowRankUpdate]()
    for name, parameter in list(student.named_parameters(remove_duplicate=False)):
        is_taken = is_smaller(parameter, rank) or name in rounding
        is_updated = parameter.requires_grad and name not in trained and is_taken and _is_whole(student, name)
        if not is_updated and id(parameter) not in updates:
            parameter.requires_grad_(parameter.requires_grad and (name in trained or parameter.dim() > 1))
            continue
        known = updates.get(id(parameter)) or LowRankUpdate(parameter.detach(), rank, scale, masks.get(name), generator, rounding.get(name))
        updates[id(parameter)] = known
        _add(student, name, known)
        parameter.requires_grad_(False)
    return student


def beside(model: nn.Module, kinds: tuple[Literal["biases", "norms"], ...]) -> frozenset[str]:
    """The names of a model's biases (those of its norms are norms), of the parameters of its norms, or of both."""
    norms = {id(value) for layer in model.modules() if isinstance(layer, NORMS) for value in layer.parameters(recurse=False)}
    parameters = list(model.named_parameters(remove_duplicate=False))
    is_bias = {name: "bias" in name.rpartition(".")[2] for name, _ in parameters}
    found = {"norms": [name for name, value in parameters if id(value) in norms]}
    found["biases"] = [name for name, value in parameters if is_bias[name] and id(value) not in norms]
    return frozenset(name for kind in kinds for name in found[kind])


def is_smaller(parameter: Tensor, rank: int) -> bool:
    """Whether an update of this rank holds fewer values than the parameter itself."""
    return parameter.dim() > 1 and rank * (len(parameter) + parameter[0].numel()) < parameter.numel()


def trained_parameters(model: nn.Module, config: LowRankTraining) -> int:
    """How many values the recovery of `model` trains."""
    student = model if config.lora_rank is None else with_updates(model, config, masks={})
    return sum(value.numel() for value in student.parameters() if value.requires_grad)


def _is_whole(model: nn.Module, parameter: str) -> bool:
    """Whether a parameter is all that its weight is made of; under weight norm, for one, it is made of two."""
    owner = model.get_submodule(parameter.rpartition(".")[0])
    return not isinstance(owner, ParametrizationList) or owner.is_tensor


def _add(model: nn.Module, parameter: str, update: LowRankUpdate) -> None:
    """Put an update before whatever else parametrizes the weight (fake quantization, for one)."""
    owner, _, name = parameter.rpartition(".")
    layer = model.get_submodule(owner)
    if isinstance(layer, ParametrizationList):
        layer.insert(0, update)
        return
    parametrize.register_parametrization(layer, name, update)
    if isinstance(layer, nn.RNNBase):
        layer.register_forward_pre_hook(_hand_weights_on)


def _hand_weights_on(layer: nn.Module, _arguments: tuple[Any, ...]) -> None:
    """A recurrent layer keeps its weights in a list, which knows nothing of parametrizations."""
    recurrent = cast("Any", layer)
    recurrent._flat_weights = [getattr(layer, name) for name in recurrent._flat_weights_names]


def _merged(student: nn.Module) -> nn.Module:
    """The model itself, changed in place: every update is added to its weight, and gone."""
    done: set[int] = set()
    for layer in list(student.modules()):
        for name, chain in list(getattr(layer, "parametrizations", {}).items()):
            if not isinstance(chain[0], LowRankUpdate):
                continue
            with torch.no_grad():
                if id(chain.original) not in done:
                    chain.original.copy_(chain[0](chain.original))
            done.add(id(chain.original))
            if len(chain) > 1:
                del chain[0]
            else:
                parametrize.remove_parametrizations(layer, name, leave_parametrized=False)
    return student
