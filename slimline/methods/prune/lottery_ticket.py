"""Iterative magnitude pruning with rewinding: find the weights that would have sufficed, and train them alone.

Frankle & Carbin 2019, "The lottery ticket hypothesis" (arXiv:1803.03635): train, drop the smallest weights of what is left, put
the rest back to where they began, and train again. Back to early instead of initial weights: Frankle et al. 2020, "Linear mode
connectivity and the lottery ticket hypothesis" (arXiv:1912.05671). Two controls say what the ticket is worth: `random_ticket`
has as many weights in each layer, in places drawn at random; `random_init` has the ticket's places and other initial weights.
"""

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.lottery_findings import Finding, finding, told
from slimline.methods.prune.lottery_rounds import RANDOM_INIT, RANDOM_TICKET, Round, Trained, from_tensors, to_tensors
from slimline.params import LotteryTicketParams
from slimline.training.checkpoints import round_name
from slimline.training.masks import WEIGHTED
from slimline.training.order import steps_per_epoch

Tensors = Mapping[str, Tensor]


def lottery_ticket(model: nn.Module, config: LotteryTicketParams, *, data: MethodData) -> Edited:
    """Return the ticket of the last round, trained: `(1 - fraction) ** rounds` of all Linear and convolution weights, the rest zero.

    Only the architecture of `model` counts: training begins with `data.initial()`. Round 0 trains the dense net; each round after it
    drops the smallest weights of all layers together and trains what is left from the initial weights, batch norm included, or, with
    `rewind_epoch`, from those that the dense training had then, on the rest of its schedule. Every round has the same batches.
    Rounds that `data.checkpoints` holds are not trained again.

    Raises:
        StageError: there are no untrained weights to begin with.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    if data.initial is None:
        raise StageError("prune: lottery_ticket needs the untrained weights that the stage gives it (data.initial)")
    initial = data.initial()
    last = _kept(0, data) or _save(0, dense_round(initial, config, data), data)
    start, found = last.rewind, [_finding(0, initial, last)]
    for number in range(1, config.rounds + 1):
        last = _kept(number, data) or _save(number, ticket_round(number, _with(initial, start), last.ticket.weights, config, data), data)
        found.append(_finding(number, initial, last))
    return told(found, Edited(_with(initial, last.ticket.weights).eval(), last.ticket.history))


def dense_round(initial: nn.Module, config: LotteryTicketParams, data: MethodData) -> Round:
    """Round 0: the whole net, and the weights that later rounds go back to."""
    rewind, steps = _state(initial), 0
    rewind_step = config.rewind_epoch * steps_per_epoch(len(data.train), config.training)

    def note(model: nn.Module, _learning_rate: float) -> None:
        nonlocal rewind, steps
        steps += 1
        if steps == rewind_step:
            rewind = _state(model)

    return Round(_train(initial, {}, config, data, after_step=note), rewind=rewind)


def ticket_round(number: int, start: nn.Module, trained: Tensors, config: LotteryTicketParams, data: MethodData) -> Round:
    """A round after the one that gave the weights `trained`: the ticket trained from `start`, and in `config.controlled` the controls."""
    masks = fewer(masks_of(start, trained), trained, config.fraction, config.floor)
    train = partial(_train, config=config, data=data)
    ticket = train(start, masks, first_epoch=config.rewind_epoch + 1)
    if number not in config.controlled or data.initial is None:
        return Round(ticket)
    generator = torch.Generator().manual_seed(data.seed + number)
    elsewhere, initial = shuffled(masks, generator), data.initial()
    controls = {
        RANDOM_TICKET: train(start, elsewhere, first_epoch=config.rewind_epoch + 1),
        RANDOM_INIT: train(_with(initial, other_weights(initial, generator)), masks),
    }
    return Round(ticket, controls)


def masks_of(model: nn.Module, weights: Tensors) -> dict[str, Tensor]:
    """Parameter name -> bool tensor, False where it is zero, for the weight of every Linear and convolution in `model`."""
    names = [f"{name}.weight".lstrip(".") for name, layer in model.named_modules() if isinstance(layer, WEIGHTED)]
    once = {id(model.get_parameter(name)): name for name in names}  # two layers may share one weight
    return {name: weights[name] != 0 for name in once.values()}


def fewer(masks: Tensors, weights: Tensors, fraction: float, floor: float = 0.0) -> dict[str, Tensor]:
    """The masks without the smallest `fraction` of the weights still there, all layers ranked together.

    Of each layer the largest `floor` of its weights stay, and at least one. Of equally small ones the first go.
    """
    there, left = torch.cat([mask.flatten() for mask in masks.values()]), int(sum(mask.sum() for mask in masks.values()))
    sizes = torch.cat([_size(weights[name], mask, floor) for name, mask in masks.items()])
    going = torch.argsort(sizes, stable=True)[: min(int(fraction * left), int(sizes.isfinite().sum()))]
    parts = torch.split(there.index_fill(0, going, False), [mask.numel() for mask in masks.values()])
    return {name: part.view(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)}


def shuffled(tensors: Tensors, generator: torch.Generator) -> dict[str, Tensor]:
    """Each tensor with its entries in another order, so that counts and distributions stay those of the layer."""
    return {name: value.flatten()[torch.randperm(value.numel(), generator=generator)].view_as(value) for name, value in tensors.items()}


def other_weights(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """The state of `model` with each parameter's entries in another order; buffers, which may be tables or positions, stay."""
    state = _state(model)
    drawn = shuffled(state, generator)
    return state | {name: drawn[name] for name, _ in model.named_parameters(remove_duplicate=False)}


def _size(weight: Tensor, mask: Tensor, floor: float) -> Tensor:
    """|w| in a row; infinity for those that are not to go: gone already, or among the largest of the layer."""
    size = weight.detach().abs().flatten()
    largest = torch.argsort(size, descending=True, stable=True)[: max(1, math.ceil(floor * size.numel()))]
    return size.masked_fill(mask.flatten().logical_not(), math.inf).index_fill(0, largest, math.inf)


def _train(initial: nn.Module, masks: Tensors, config: LotteryTicketParams, data: MethodData, **more: Any) -> Trained:
    """Train a copy whose masked weights are zero from the start on; `more` goes to `fit`."""
    model = copy.deepcopy(initial)
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    trained, history = data.fitted(model, config.training, masks=masks, **more)
    return Trained(_state(trained), history, data.validation_metric(trained))


def _finding(number: int, initial: nn.Module, finished: Round) -> Finding:
    masks = masks_of(initial, finished.ticket.weights).values()
    return finding(number, finished, sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks))


def _with(model: nn.Module, weights: Tensors) -> nn.Module:
    twin = copy.deepcopy(model)
    twin.load_state_dict(dict(weights))
    return twin


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def _kept(number: int, data: MethodData) -> Round | None:
    tensors = data.checkpoints.load(round_name(number)) if data.checkpoints else None
    return None if tensors is None else from_tensors(tensors)


def _save(number: int, finished: Round, data: MethodData) -> Round:
    if data.checkpoints:
        data.checkpoints.save(round_name(number), to_tensors(finished))
    return finished
