"""What all low-rank methods share: which layers are factorized, at which ranks, and what the page tells of it."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, take
from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Curve, Edited, Listing
from slimline.methods.factorize.budget import Spent, spent
from slimline.methods.factorize.decomposition import Decomposition, Layer, Ranks, Scheme, chain, decomposed, replaced, unfilled_first
from slimline.methods.factorize.ranks import chosen_ranks
from slimline.methods.factorize.whitening import NOT_WHITENED, whitenings
from slimline.methods.layer_calls import on_input
from slimline.methods.layer_use import UNREAD, uses_of, why_not_planned
from slimline.methods.name_patterns import matching
from slimline.params.factorize import ConvolutionParams, LowRankParams
from slimline.training.masks import WEIGHTED

Schemes = Sequence[Scheme]


def factorized(model: nn.Module, config: LowRankParams, data: MethodData, schemes: Schemes) -> Edited:
    """Return a copy with chains in place of layers: each layer by the first of the schemes that takes it.

    Raises:
        StageError: no layer gets smaller, or the budget is out of reach.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    shapes = input_shapes(model, data.example)
    taken = {name: scheme for name, layer in layers(model).items() if (scheme := _scheme(layer, schemes))}
    kept = dict.fromkeys(matching(config.keep, layers(model), "factorize: keep"), "named in keep")
    read = read_elsewhere(model, data.example)
    stays = kept | {name: why for name in taken if name not in kept and (why := why_whole(model, name, shapes, config.min_channels, read))}
    decompositions = _decomposed(model, {name: scheme for name, scheme in taken.items() if name not in stays}, config, data)
    budget = config.budget if decompositions else None
    search = spent(model, decompositions, shapes, budget, config.round_to, data) if budget else None
    chosen = search.ranks if search else {name: chosen_ranks(one, config) for name, one in decompositions.items()}
    ranks = {name: found for name, found in chosen.items() if found is not None}
    if not ranks:
        by_weights = len(stays) < len(taken) and (config.vbmf or config.energy is not None)
        raise (StageError if by_weights else Impossible)(f"factorize: {_nothing(config, len(taken), stays)}")
    stays |= dict.fromkeys(decompositions.keys() - ranks, "no smaller at such ranks" if search is None else "worth more than it costs")
    made = replaced(model, {name: chain(decompositions[name], found) for name, found in ranks.items()})
    stays |= {name: "grouped convolution" for name, layer in layers(model).items() if getattr(layer, "groups", 1) > 1}
    told = _told(made, decompositions, ranks, [(name, stays[name]) for name in layers(model) if name in stays], search)
    return _measured(told, model, config, data)


def layers(model: nn.Module) -> dict[str, Layer]:
    """The Linear layers and convolutions by name, each once; a subclass may compute something else, and is none of them."""
    return {name: layer for name, layer in model.named_modules() if name and type(layer) in WEIGHTED and isinstance(layer, WEIGHTED)}


def input_shapes(model: nn.Module, example: Batch) -> dict[str, list[tuple[int, ...]]]:
    """What one sample of `example` is to each layer, call by call: layer -> shapes without the first axis."""
    twin = copy.deepcopy(model).eval()
    shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in layers(twin)}

    def note(name: str, _: nn.Module, x: Tensor) -> None:
        shapes[name].append(tuple(x.shape[1:]))

    for name, layer in layers(twin).items():
        on_input(layer, partial(note, name))
    with torch.no_grad():
        twin(**take(example, slice(0, 1)))
    return shapes


def _scheme(layer: Layer, schemes: Schemes) -> Scheme | None:
    return next((scheme for scheme in schemes if scheme.takes(layer)), None)


def why_whole(
    model: nn.Module, name: str, shapes: Mapping[str, Sequence[tuple[int, ...]]], min_channels: int, read: Mapping[str, str]
) -> str | None:
    """Why a layer is left alone before any rank is tried; None where nothing forbids one. `shapes` are those of `input_shapes`, `read` is
    of `read_elsewhere`.
    """
    layer = layers(model)[name]
    if min(layer.weight.shape[:2]) < min_channels:
        return f"fewer than {min_channels} channels"
    if sum(value is layer.weight for module in model.modules() for value in module.parameters(recurse=False)) > 1:
        return "shares its weight with another layer"
    return read.get(name) if shapes[name] or name in read else "does not run"


def read_elsewhere(model: nn.Module, example: Batch) -> dict[str, str]:
    """The layers whose weight something else reads, which a chain has not: name -> what does, as one sample of `example` shows it.

    Torch's kernels for attention and for whole layers do; so does a function of `self.fc.weight`, beside the layer or instead of it.
    """
    found = layers(model)
    by_kernels = {name: "its parent reads the weight itself" for name, layer in found.items() if _read_by_parent(model, layer)}
    ran = {name: layer for name, layer in found.items() if name not in by_kernels}
    by_function = why_not_planned(ran, uses_of(model, take(example, slice(0, 1))))
    return {name: why for name, why in by_function.items() if why != UNREAD} | by_kernels


def _read_by_parent(model: nn.Module, layer: nn.Module) -> bool:
    return any(child is layer for parent in model.modules() if _reads_weights(parent) for child in parent.modules())


def _reads_weights(parent: nn.Module) -> bool:
    whole = isinstance(parent, nn.TransformerEncoderLayer) and parent.self_attn.in_proj_bias is not None
    return whole or isinstance(parent, nn.MultiheadAttention)


def _decomposed(model: nn.Module, schemes: Mapping[str, Scheme], config: LowRankParams, data: MethodData) -> dict[str, Decomposition]:
    found = {name: layer for name, layer in layers(model).items() if name in schemes}
    firsts = {name: unfilled_first(layer, schemes[name]) for name, layer in found.items()}
    roots = whitenings(model, firsts, data.calibration, config.damping) if config.activation_aware else dict.fromkeys(found, NOT_WHITENED)
    return {name: decomposed(layer, schemes[name], roots[name], data.seed) for name, layer in found.items()}


def _told(
    model: nn.Module,
    decompositions: Mapping[str, Decomposition],
    ranks: Mapping[str, Ranks],
    stays: Iterable[tuple[str, str]],
    search: Spent | None,
) -> Edited:
    rows = tuple(
        (
            name,
            " x ".join(map(str, ranks[name])),
            one.layer.weight.numel(),
            sum(one.sizes(ranks[name])),
            f"{one.fit.lost(ranks[name]):.2%}",
            *([f"{search.harms[name]:.2%}"] if search else []),
        )
        for name, one in decompositions.items()
        if name in ranks
    )
    columns = ("layer", "ranks", "weights before", "weights after", "energy lost", *(["outputs move by"] if search else []))
    listing = Listing(
        "Ranks", columns, rows, "Energy lost: the share of the layer's own squared output or weight." + (_ALONE if search else "")
    )
    details = {"factorized_layers": len(ranks), "ranks": {name: list(found) for name, found in ranks.items()}}
    return Edited(model, notes=_notes(stays), listings=(listing,), curves=_curves(search), details=details)


def _measured(edited: Edited, model: nn.Module, config: LowRankParams, data: MethodData) -> Edited:
    """With the time of the result measured anew, where there is a budget for it: the search has picked a lucky one among many."""
    if config.budget is None or config.budget.latency is None or data.latency_ms is None:
        return edited
    share = data.latency_ms(edited.model) / data.latency_ms(model)
    note = f"Measured anew, it takes {share:.1%} of its source's time; {config.budget.latency:.0%} was asked for."
    return replace(edited, notes=(note, *edited.notes), details={**edited.details, "left": {"latency": share}})


_ALONE = " The outputs' move is predicted for that layer alone, in share of their norm on the calibration sample."


def _notes(stays: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = {}
    for name, why in stays:
        reasons.setdefault(why, []).append(name)
    return tuple(f"Left alone, {why}: {', '.join(names)}." for why, names in reasons.items())


def _curves(search: Spent | None) -> tuple[Curve, ...]:
    if search is None:
        return ()
    note = (
        "Predicted from each layer alone, as a share of the outputs' norm; every step takes the ranks that harm least for what they save."
    )
    return (Curve("What the budget costs", search.x_label, "how far the outputs move", {"search": search.path}, note),)


def _nothing(config: LowRankParams, found: int, stays: Mapping[str, str]) -> str:
    """Why no layer was factorized, and which option to change."""
    if not found:
        takes_convolutions = isinstance(config, ConvolutionParams)
        way_out = "use svd, or set include_linear: true" if takes_convolutions else "set kernels: all, or use spatial_svd, tucker or cp"
        return f"the model has no layer for {config.method}; {way_out}"
    if len(stays) == found:
        reasons = "; ".join(f"{name}: {why}" for name, why in stays.items())
        return f"all {found} layers are left alone ({reasons}); see min_channels, or use another method"
    change = "raise it" if config.parameter_ratio is not None else "give a rank instead" if config.vbmf else "lower it"
    return f"none of {found} layers gets smaller at {_amount(config)}; {change} in params.yaml"


def _amount(config: LowRankParams) -> str:
    return ", ".join(name if value is True else f"{name} {value:g}" for name, value in config.amounts.items())
