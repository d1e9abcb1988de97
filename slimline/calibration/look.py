"""One look at an untrained net, with real samples, before an hour is spent on it: can everything that comes later follow it?"""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from slimline.artifact.plain_weights import make_plain_
from slimline.artifact.structure import structure_edits
from slimline.calibration.side_effects import side_effects
from slimline.data.batch import Batch, Tensors, clone, count, joined, split, take, tensors
from slimline.data.signature import Signature
from slimline.errors import ArtifactError, StageError
from slimline.methods.exported import REFUSALS, exported, reason_of
from slimline.methods.layer_calls import WATCHED, on_input, run_hooked

SAMPLES = 4
KEEP_BATCH = "keep the batch axis (no squeeze() without an axis)"
UNSTEADY = "it answers the same samples differently each time, in evaluation mode too; give dropout and noise `self.training`"
TOLERANCE = 1e-3
"""Of the largest output: how far an answer may move with the batch that it is in, since kernels differ by batch size."""


def look(model: nn.Module, again: nn.Module, samples: Batch, *, exports: bool, signature: Signature | None = None) -> tuple[str, ...]:
    """What stands in the way of training, compressing and storing a net: sentences with the place and the way out, or none.

    `again` is the same net built once more. `samples` are real ones, a few of which run through a copy in evaluation mode. With
    `exports` the net is held to torch.export as well, which all targets but eager and torchscript need; `signature` says which axes of
    its inputs vary. What the net's own forward raises is not caught here, but for a batch of one.
    """
    if problem := _why_not_copied(model):
        return (problem,)
    twin, few = copy.deepcopy(model).eval(), clone(take(samples, slice(0, SAMPLES)))
    make_plain_(twin)
    found = [*_unfollowed(copy.deepcopy(twin), clone(few))] or [*side_effects(twin, few)]
    if not found:
        found += [*_unsteady(twin, few), *_unstorable(twin, again)]
    if not found:
        found += _unstored(twin, again, few)
    if exports and not found:
        found += _unexportable(twin, take(few, slice(0, 2)), signature)
    return tuple(found)


def _why_not_copied(model: nn.Module) -> str | None:
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm | SpectralNorm):
                kind = "weight_norm" if isinstance(hook, WeightNorm) else "spectral_norm"
                return f"{_label(name)} is under torch.nn.utils.{kind}, which no copy keeps; use torch.nn.utils.parametrizations.{kind}"
    try:
        copy.deepcopy(model)
    except REFUSALS as error:
        return f"it cannot be copied (copy.deepcopy): {reason_of(error)}; keep tensors as parameters or buffers, and no open files or locks"
    return None


def _unfollowed(twin: nn.Module, few: Batch) -> Iterator[str]:
    """Layers that are called with something that no calibration can look into."""
    layers = {name: layer for name, layer in twin.named_modules() if isinstance(layer, WATCHED)}
    handles = [on_input(layer, lambda _layer, _x: None, name=name) for name, layer in layers.items()]
    try:
        run_hooked(twin, few, handles)
    except StageError as error:
        yield f"{error}; call it with a padded tensor, and take the step at each sample's length from the output"


def _unsteady(twin: nn.Module, few: Batch) -> Iterator[str]:
    """Answers that differ from call to call, or with the samples beside them."""
    with torch.no_grad():
        together, repeated = twin(**few), twin(**few)
        if not (_is_comparable(together, few) and _is_comparable(repeated, few)):
            return
        if _moved(together, repeated):
            yield UNSTEADY
            return
        try:
            alone = [twin(**one) for one in split(few, 1)]
        except REFUSALS as error:
            if mixing := _mixing_norm(twin):
                yield f"its answer to a sample depends on the other samples of the batch: {mixing}"
                return
            yield f"it cannot answer one sample alone: {reason_of(error)}; {KEEP_BATCH}"
            return
    if wrong := [shape for name, shape in _shapes(alone[0]).items() if shape != (1, *_shapes(together)[name][1:])]:
        yield f"it cannot answer one sample alone: the output's shape is {list(wrong[0])}; {KEEP_BATCH}"
    elif _moved(together, joined(alone)):
        yield f"its answer to a sample depends on the other samples of the batch: {_mixer(twin)}"


def _is_comparable(output: object, few: Batch) -> bool:
    """Whether outputs can be compared sample by sample; what they have to be beside that is the workload's promise."""
    parts = list(output.values()) if isinstance(output, Mapping) else [output]
    return bool(parts) and all(_is_floats_of(part, count(few)) for part in parts)


def _is_floats_of(output: object, samples: int) -> bool:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return False
    return output.shape[:1] == (samples,) and bool(output.isfinite().all())


def _moved(one: Tensors, other: Tensors) -> bool:
    pairs = [(before, tensors(other)[name]) for name, before in tensors(one).items()]
    return any(float((before - after).abs().max()) > TOLERANCE * max(float(before.abs().max()), 1e-6) for before, after in pairs)


def _shapes(outputs: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors(outputs).items()}


def _mixer(twin: nn.Module) -> str:
    return _mixing_norm(twin) or "something in its forward mixes them; work on each sample for itself in evaluation mode"


def _mixing_norm(twin: nn.Module) -> str:
    norms = [name for name, module in twin.named_modules() if isinstance(module, _BatchNorm) and module.running_mean is None]
    if not norms:
        return ""
    return f"batch norm {norms[0]!r} keeps no running statistics; leave out track_running_stats=False, or use a group or layer norm"


def _unstorable(twin: nn.Module, again: nn.Module) -> Iterator[str]:
    """A variant is stored as its weights and how its layers differ from the net built anew."""
    make_plain_(again)
    try:
        if edits := structure_edits(again, twin):
            yield f"layer {next(iter(edits))!r} comes out otherwise when the net is built again; build the same net in every call"
    except ArtifactError as error:
        yield f"built again it is another net, so its weights could not be stored: {error}"


def _unstored(twin: nn.Module, again: nn.Module, few: Batch) -> Iterator[str]:
    """Tensors that are neither trained nor stored, and come out anew whenever the net is built. `again` takes the twin's weights."""
    again.load_state_dict(twin.state_dict())
    with torch.no_grad():
        before, after = twin(**few), again.eval()(**few)
    if _is_comparable(before, few) and _moved(before, after):
        named = next(_unregistered(twin), "somewhere in it")
        yield (
            f"built again and given the same weights it answers otherwise, since it holds tensors that are neither parameters nor buffers: "
            f"{named}; keep layers in nn.ModuleList or nn.ModuleDict, and tensors by register_buffer"
        )


def _unregistered(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            if not key.startswith("_") and any(isinstance(part, nn.Module | Tensor) for part in parts):
                yield repr(f"{name}.{key}".lstrip("."))


def _unexportable(twin: nn.Module, few: Batch, signature: Signature | None) -> Iterator[str]:
    recurrent = [name for name, module in twin.named_modules() if isinstance(module, nn.RNNBase)]
    if recurrent and signature is not None and any(one.varies for one in signature.inputs):
        yield (
            f"layer {recurrent[0]!r} is recurrent, which torch.export takes for one length alone, and samples differ in length: "
            f"{signature.text}; fill them up to one length in inputs()"
        )
        return
    try:
        exported(twin, few, signature=signature)
    except StageError as error:
        yield f"{error}; only the targets eager and torchscript can take it"


def _label(name: str) -> str:
    return repr(name) if name else "the net"
