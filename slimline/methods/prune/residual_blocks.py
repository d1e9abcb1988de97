"""Which modules of a model are residual blocks, and the model without some of them.

A block is residual where its output comes from its input by an addition, past nothing but norms and activations: the gradient's
graph of one forward pass shows that for any module, however its code is written.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimline.artifact.stand_ins import Skip
from slimline.data.batch import Batch, count, split
from slimline.data.padding import there_of, without_padding
from slimline.errors import StageError
from slimline.methods.layer_calls import run_hooked
from slimline.methods.transposed import is_transposed

WORKING = (nn.Linear, _ConvNd, nn.MultiheadAttention, nn.RNNBase)
ADDITION = "AddBackward0"
PASSED = frozenset(
    f"{name}Backward0"
    for name in ("Add", "Clone", "View", "Alias", "UnsafeView", "Relu", "Gelu", "Silu", "Elu", "LeakyRelu", "Hardtanh", "Hardswish", "Mish")
) | {"NativeLayerNormBackward0", "NativeBatchNormBackward0", "NativeGroupNormBackward0", "FusedRmsNormBackward0"}
"""Operations of the gradient's graph through which a shortcut may run."""
SAMPLES = 32
"""Samples that run at a time where blocks are looked at."""
NOTHING: Mapping[str, int] = MappingProxyType({})
STACKS = (nn.TransformerEncoder, nn.TransformerDecoder)


def residual_blocks(model: nn.Module, inputs: Batch) -> tuple[str, ...]:
    """The names of the innermost residual blocks that run on `inputs`, in the order in which they run; `model` stays as it is.

    A block has a layer with weights, takes a tensor first and gives one of the same shape; an entry of a list of modules may give
    more behind it. Adding after a block, in the code of the module around it, does not make it residual.
    """
    traced = copy.deepcopy(model).eval().requires_grad_(True)
    entries: dict[str, list[tuple[Tensor, Any]]] = {}
    verdicts: dict[str, bool] = {}
    for name, module in traced.named_modules():
        if name and any(isinstance(inner, WORKING) or is_transposed(inner) for inner in module.modules()):
            module.register_forward_pre_hook(_marking(name, entries))
            is_listed = isinstance(traced.get_submodule(name.rpartition(".")[0]), nn.ModuleList)
            module.register_forward_hook(_judging(name, entries, verdicts, is_listed))
    with torch.enable_grad():
        traced(**{name: value.clone().requires_grad_(value.is_floating_point()) for name, value in inputs.items()})
    residual = [name for name, verdict in verdicts.items() if verdict]
    return tuple(name for name in residual if not any(other.startswith(f"{name}.") for other in residual))


def without_blocks(model: nn.Module, names: Sequence[str], given: Mapping[str, int]) -> nn.Module:
    """A copy in evaluation mode with a `Skip` for each of these blocks; torch's own encoder and decoder get fewer layers.

    `given` is what `others_given` says of the blocks.

    Raises:
        StageError: an encoder or decoder would have no layer left.
    """
    smaller = copy.deepcopy(model).eval()
    _drop_(smaller, names, given)
    return smaller


def others_given(model: nn.Module, names: Sequence[str], inputs: Batch) -> dict[str, int]:
    """How much more each of these blocks gives than its output: 0 where it gives a tensor alone."""
    watched, found = copy.deepcopy(model).eval(), dict[str, int]()

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
            found[name] = len(output) - 1 if isinstance(output, tuple) else 0

        return hook

    run_hooked(watched, inputs, [watched.get_submodule(name).register_forward_hook(note(name)) for name in names])
    return found


def block_influence(model: nn.Module, names: Sequence[str], inputs: Batch, *, without: Mapping[str, int] = NOTHING) -> dict[str, float]:
    """1 - cos(input, output) of each block, averaged over samples and positions; 0 where a block turns its input nowhere.

    Those in `without` are dropped before, with what `others_given` says of them. Men et al. 2024, "ShortGPT" (arXiv 2403.03853). The
    features are the last dimension, or the channels of a feature map.
    """
    traced = copy.deepcopy(model).eval()
    found: dict[str, list[float]] = {}

    def note(name: str, there: Tensor) -> Any:
        def hook(_module: nn.Module, given: tuple[Any, ...], outputs: Any) -> None:
            output = _first(outputs)
            features = 1 if output.dim() > 3 else -1
            cosines = nn.functional.cosine_similarity(given[0].double(), output.double(), dim=features)
            cosine = float(without_padding(cosines[..., None], there).mean())
            found.setdefault(name, []).append((1 - cosine) * len(output))

        return hook

    _drop_(traced, tuple(without), without)
    blocks = {name: traced.get_submodule(name) for name in names}
    for batch in split(inputs, SAMPLES):
        run_hooked(traced, batch, [block.register_forward_hook(note(name, there_of(batch))) for name, block in blocks.items()])
    return {name: float(sum(parts) / count(inputs)) for name, parts in found.items()}


def _drop_(model: nn.Module, names: Sequence[str], given: Mapping[str, int]) -> None:
    for name in names:
        model.set_submodule(name, Skip(given.get(name, 0)), strict=True)
    for name, stack in model.named_modules():
        if isinstance(stack, STACKS) and any(isinstance(layer, Skip) for layer in stack.layers):
            left = [layer for layer in stack.layers if not isinstance(layer, Skip)]
            if not left:
                raise StageError(f"prune: depth would leave {name!r} without a layer; drop fewer blocks, or name one in keep")
            stack.layers, stack.num_layers = nn.ModuleList(left), len(left)


def _marking(name: str, entries: dict[str, list[tuple[Tensor, Any]]]) -> Any:
    """A hook that gives a module its input as a copy, which is known again in the gradient's graph."""

    def hook(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if not given or not isinstance(given[0], Tensor) or not given[0].requires_grad:
            entries.setdefault(name, []).append((torch.empty(0), None))
            return given
        marked = given[0].clone()
        entries.setdefault(name, []).append((marked, marked.grad_fn))
        return marked, *given[1:]

    return hook


def _judging(name: str, entries: dict[str, list[tuple[Tensor, Any]]], verdicts: dict[str, bool], is_listed: bool) -> Any:
    def hook(_module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
        entry, node = entries[name].pop()
        output = _first(output) if is_listed else output
        is_residual = isinstance(output, Tensor) and output.shape == entry.shape and _has_shortcut(output.grad_fn, node)
        verdicts[name] = verdicts.get(name, True) and is_residual

    return hook


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) and output else output


def _has_shortcut(end: Any, start: Any) -> bool:
    """Whether a way leads from `end` back to `start` past additions, at least one, norms and activations."""
    if start is None or end is None:
        return False
    waiting, seen = [(end, False)], set()
    while waiting:
        node, added = waiting.pop()
        if node is start:
            if added:
                return True
            continue
        if (node, added) in seen or node.name() not in PASSED:
            continue
        seen.add((node, added))
        waiting += [(following, added or node.name() == ADDITION) for following in _following(node)]
    return False


def _following(node: Any) -> Iterator[Any]:
    return (following for following, _ in node.next_functions if following is not None)
