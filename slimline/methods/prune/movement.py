"""Zero the weights that training moves towards zero, while it trains: shapes stay.

Sanh et al. 2020, "Movement pruning: adaptive sparsity by fine-tuning" (arXiv 2005.07683): a weight's score is the sum of -w ∂L/∂w over
the steps, which falls while steps make the weight smaller. The lowest scores are masked out; they go on being scored, since their
gradient is that of the masked weight (straight-through), and may come back. How many are masked rises on the cubic of Zhu & Gupta 2017.
"""

import copy
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.weights import lowest, lowest_of_all, weighted_layers, zeroed
from slimline.methods.shared_weights import shared_weights
from slimline.params import MovementParams
from slimline.training.masks import ORIGINAL
from slimline.training.order import steps_per_epoch

MASK_UPDATES = 200


def movement(model: nn.Module, config: MovementParams, *, data: MethodData) -> Edited:
    """Return a copy trained for `config.training`, in which by the end the fraction of all Linear and convolution weights is zero.

    No weight goes in the first `warm_up` of the training, none comes or goes in the last `cool_down`. Weights that are zero already
    stay so and count as pruned. Biases and other layers train along.

    Raises:
        StageError: a layer would lose every weight; the message names it.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    moving, names = _moving(model)
    steps = config.training.epochs * steps_per_epoch(len(data.train), config.training)
    trained, history = data.fitted(moving, config.training, after_step=_masking(names, config, steps), keep="last")
    gone = {name: moves.mask.logical_not() for name, moves in _moves(trained, names).items()}
    return Edited(zeroed(_with_weights_of(trained, model), gone, f"fraction {config.fraction:g}"), history)


class Moves(nn.Module):
    """A parametrization: the weight where its mask is True; in training, the movement of every weight is added to its score."""

    mask: Tensor
    scores: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        alive = weight.detach() != 0
        self.register_buffer("mask", alive)
        self.register_buffer("scores", torch.zeros_like(weight).masked_fill(~alive, -torch.inf))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight's own shape in and out."""
        masked = weight * self.mask
        if self.training and masked.requires_grad:
            masked.register_hook(lambda gradient: self._note(weight, gradient))  # type: ignore[no-untyped-call]
        return masked

    def _note(self, weight: Tensor, gradient: Tensor) -> None:
        self.scores.sub_(weight.detach() * gradient)


def share_gone(progress: float, config: MovementParams) -> float:
    """The share of weights masked out at a point (0 to 1) of the training: 0, then fraction (1 - (1 - t)^3), then the fraction."""
    part = (progress - config.warm_up) / (1 - config.warm_up - config.cool_down)
    return config.fraction * (1 - (1 - min(1.0, max(0.0, part))) ** 3)


def _moving(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy whose weights are masked and scored, and the names of its layers; a weight that two layers share is left as it is."""
    twin, shared = copy.deepcopy(model), shared_weights(model)
    layers = {name: layer for name, layer in weighted_layers(twin).items() if f"{name}.weight".lstrip(".") not in shared}
    for layer in layers.values():
        parametrize.register_parametrization(layer, "weight", Moves(layer.weight))
    return twin, tuple(layers)


def _moves(model: nn.Module, names: tuple[str, ...]) -> Mapping[str, Moves]:
    return {name: cast("Moves", model.get_submodule(f"{name}.parametrizations.weight.0".lstrip("."))) for name in names}


def _masking(names: tuple[str, ...], config: MovementParams, steps: int) -> Callable[[nn.Module, float], None]:
    """What `fit` calls after each step: new masks from the scores, until the cool-down, at most `MASK_UPDATES` times in all."""
    done, every = 0, max(1, steps // MASK_UPDATES)
    last = max(1, round((1 - config.cool_down) * steps))

    def update(model: nn.Module, _learning_rate: float) -> None:
        nonlocal done
        done += 1
        amount = config.fraction if done == last else share_gone(done / steps, config)
        if amount > 0 and done <= last and (done % every == 0 or done == last):
            moves = _moves(model, names)
            for name, gone in _gone({name: one.scores for name, one in moves.items()}, amount, config).items():
                moves[name].mask.copy_(~gone)

    return update


def _gone(scores: Mapping[str, Tensor], amount: float, config: MovementParams) -> dict[str, Tensor]:
    if config.scope == "local":
        return {name: lowest(score, amount) for name, score in scores.items()}
    return lowest_of_all(scores, amount, config.floor)


def _with_weights_of(trained: nn.Module, model: nn.Module) -> nn.Module:
    """A plain copy of `model` with everything that was trained."""
    plain = copy.deepcopy(model)
    names = plain.state_dict().keys()
    state = {name.replace(ORIGINAL, "weight"): value for name, value in trained.state_dict().items()}
    plain.load_state_dict({name: state[name] for name in names})
    return plain
