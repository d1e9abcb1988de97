"""Who reads a model's parameters: found by running it, since a layer's weight may be used without the layer, and a layer not at all."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from slimline.artifact.border import attempted
from slimline.data.batch import Batch, clone, count, take
from slimline.data.signature import Signature, shortened
from slimline.methods.layer_calls import on_input
from slimline.methods.macs import layer_by_layer

DIRECT = ("linear", "conv1d", "conv2d", "lstm", "gru", "embedding")
"""The functions that take a layer's weights as they are."""
UNREAD = "does not run in evaluation, so no graph holds it"
UNUSED = "no answer depends on it, so no graph holds it"
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Uses:
    """Who read each parameter and buffer while a model ran in evaluation mode; those of one storage are one.

    `readers`: name -> the modules whose own code read it. `changed`: those that something else than a matrix product, a convolution or a
    recurrent kernel read, such as a norm of a weight. `folded`: batch norms that read what a layer just made -> that layer.
    """

    readers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    folded: Mapping[str, str] = field(default_factory=dict)

    def is_read(self, name: str) -> bool:
        """Whether anything read a parameter or buffer."""
        return bool(self.readers.get(name))


def uses_of(model: nn.Module, inputs: Batch) -> Uses:
    """Run `inputs` through a copy of the model in evaluation mode, and see who reads what."""
    twin = copy.deepcopy(model).eval()
    watch = _Watch(twin)
    with torch.no_grad(), layer_by_layer(), watch:
        twin(**clone(inputs))
    readers = {name: frozenset(watch.readers.get(key, ())) for name, key in watch.keys.items()}
    return Uses(readers, frozenset(name for name, key in watch.keys.items() if key in watch.changed), watch.folded)


def why_not_planned(layers: Mapping[str, nn.Module], uses: Uses) -> dict[str, str]:
    """The layers, of those that a plan may speak of, that have to stay as they are: name -> why."""
    reasons = {}
    for name, layer in layers.items():
        weights = [f"{name}.{key}".lstrip(".") for key, _ in layer.named_parameters(recurse=False) if key.startswith("weight")]
        others = {reader for weight in weights for reader in uses.readers.get(weight, ())} - layers.keys()
        if not all(uses.is_read(weight) for weight in weights):
            reasons[name] = UNREAD
        elif others:
            reasons[name] = f"its weight is read by {sorted(others)[0] or 'the model'} itself, not by the layer alone"
        elif not uses.changed.isdisjoint(weights) or getattr(layer, "max_norm", None) is not None:
            reasons[name] = f"{type(layer).__name__} changes its weight in every run"
    return reasons


def why_folded(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Batch, signature: Signature | None = None) -> dict[str, str]:
    """The layers, of those named, whose input is the same whatever the batch, such as a net's that makes weights or position biases, or
    a table of positions where all samples have one length.

    A compiler computes them once and keeps what they give, so that no graph holds them. Two samples show it beside one of them, and
    beside two that are shorter, where `signature` says that lengths vary.
    """
    if count(inputs) < 2:
        return {}
    batches = [take(inputs, slice(0, number)) for number in (1, 2)]
    if signature is not None and any(one.varies for one in signature.inputs):
        batches.append(shortened(batches[-1], signature))
    shaped = _alike(*(_inputs_of(model, layers, batch, lambda x: x.shape) for batch in batches))
    fixed = _alike(*(_inputs_of(model, shaped, batch, Tensor.tolist) for batch in batches)) if shaped else ()
    return dict.fromkeys(fixed, "its input is the same for every sample, so graphs hold what it gives")


def why_unused(model: nn.Module, layers: Iterable[str], inputs: Batch) -> dict[str, str]:
    """The layers, of those named, that run for nothing, such as the last residual of a WaveNet: no output changes with their weights.

    Those that no gradient reaches are tried with other weights. Of a net that has no gradients, none is told.
    """
    twin = copy.deepcopy(model).eval()
    weights = {name: found for name in layers if (found := _weights(twin.get_submodule(name)))}
    with attempted(), layer_by_layer():
        unreached = _unreached(twin, weights, inputs)
        return {name: UNUSED for name in weights if name in unreached and _changes_nothing(twin, weights[name], inputs)}
    return {}


def _weights(layer: nn.Module) -> list[nn.Parameter]:
    return [value for key, value in layer.named_parameters(recurse=False) if key.startswith("weight") and value.is_floating_point()]


def _unreached(model: nn.Module, weights: Mapping[str, list[nn.Parameter]], inputs: Batch) -> set[str]:
    every = [value.requires_grad_(True) for values in weights.values() for value in values]
    outputs = [value.abs().sum() for value in _flat(model(**clone(inputs))) if value.requires_grad]
    if not outputs:
        return set()
    reached = {
        id(value) for value, one in zip(every, torch.autograd.grad(outputs, every, allow_unused=True), strict=True) if one is not None
    }
    return {name for name, values in weights.items() if not any(id(value) in reached for value in values)}


@torch.no_grad()
def _changes_nothing(model: nn.Module, weights: Sequence[Tensor], inputs: Batch) -> bool:
    before, kept = list(_flat(model(**clone(inputs)))), [value.clone() for value in weights]
    for value in weights:
        value.copy_(torch.arange(value.numel()).view_as(value) % 2)
    after = list(_flat(model(**clone(inputs))))
    for value, former in zip(weights, kept, strict=True):
        value.copy_(former)
    return all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def _alike(first: Mapping[str, list[Any]], *others: Mapping[str, list[Any]]) -> tuple[str, ...]:
    return tuple(name for name, seen in first.items() if all(seen == other.get(name) for other in others))


def _inputs_of(model: nn.Module, layers: Iterable[str], inputs: Batch, what: Callable[[Tensor], Any]) -> dict[str, list[Any]]:
    """What a run in evaluation mode puts into each matrix product, convolution or table of these layers, call by call."""
    twin, seen = copy.deepcopy(model).eval(), dict[str, list[Any]]()

    def note(name: str, _: nn.Module, x: Tensor) -> None:
        seen.setdefault(name, []).append(what(x.detach()))

    for name in layers:
        if isinstance(layer := twin.get_submodule(name), (*PRODUCTS, nn.Embedding)):
            on_input(layer, partial(note, name))
    with torch.no_grad(), layer_by_layer():
        twin(**clone(inputs))
    return seen


class _Watch(TorchFunctionMode):
    """Sees every call of torch, and inside of which module it happens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.keys = {name: _key(value) for name, value in _tensors(model)}
        self.readers: dict[int, set[str]] = {}
        self.changed: set[int] = set()
        self.folded: dict[str, str] = {}
        self._inside: list[str] = []
        self._made: dict[int, tuple[str, Tensor]] = {}  # the tensors are held so that no other gets their place
        self._known = set(self.keys.values())
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            module.register_forward_hook(self._leaving(name))

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """As the call itself."""
        found = func(*args, **(kwargs or {}))
        if any(True for _ in _flat(found)):
            for value in _flat([*args, *(kwargs or {}).values()]):
                self._note(value, str(getattr(func, "__name__", "")))
        return found

    def _note(self, value: Tensor, function: str) -> None:
        key = _key(value)
        if key in self._known:
            self.readers.setdefault(key, set()).add(self._inside[-1] if self._inside else "")
            if function not in DIRECT:
                self.changed.add(key)

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._inside.append(name)
            for value in _flat([*arguments, *named.values()]) if isinstance(module, _BatchNorm) else ():
                if id(value) in self._made:
                    self.folded[name] = self._made[id(value)][0]

        return hook

    def _leaving(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
            self._inside.pop()
            if isinstance(module, PRODUCTS) and isinstance(output, Tensor):
                self._made[id(output)] = name, output

        return hook


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _key(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _flat(one)
