"""How a model differs in shape from its workload's architecture, as plain data, and how to replay that.

Nothing about the method that made the difference is stored: the specs name layers and their arguments only. Modules of other types
keep their code; of them a spec stores plain numbers (their config's under CONFIG) and shapes of their own tensors that changed, and how
many entries a list has left.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.border import told_as
from slimline.artifact.stand_ins import Attention, Skip
from slimline.errors import ArtifactError

Spec = dict[str, Any]

_CONV_FIELDS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_RECURRENT_FIELDS = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_ATTENTION_FIELDS = ("embed_dim", "num_heads", "head_dim", "kdim", "vdim", "bias", "dropout", "batch_first", "fused")
_FIELDS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "Linear": (nn.Linear, ("in_features", "out_features")),
    "Conv1d": (nn.Conv1d, _CONV_FIELDS),
    "Conv2d": (nn.Conv2d, _CONV_FIELDS),
    "BatchNorm1d": (nn.BatchNorm1d, ("num_features", "eps", "momentum", "affine", "track_running_stats")),
    "BatchNorm2d": (nn.BatchNorm2d, ("num_features", "eps", "momentum", "affine", "track_running_stats")),
    "LayerNorm": (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine")),
    "LSTM": (nn.LSTM, (*_RECURRENT_FIELDS, "proj_size")),
    "GRU": (nn.GRU, _RECURRENT_FIELDS),
    "Identity": (nn.Identity, ()),
    "ReLU": (nn.ReLU, ()),
    "Attention": (Attention, _ATTENTION_FIELDS),
    "Skip": (Skip, ("others",)),
}
_NAMES: dict[type[nn.Module], str] = {kind: name for name, (kind, _) in _FIELDS.items()}
CHANGED, SHORTENED = "Changed", "Shortened"
CONFIG = "config."
"""Before the name of a number of a module's config, of which the module gets a copy when one is changed."""


def describe(module: nn.Module) -> Spec | None:
    """The type and arguments of a layer (or of a Sequential of layers); None for anything else."""
    if type(module) is nn.Sequential:
        children = {name: describe(child) for name, child in module.named_children()}
        return None if None in children.values() else {"type": "Sequential", "children": children}
    name = _NAMES.get(type(module))
    if name is None:
        return None
    spec: Spec = {"type": name, **{field: _plain(getattr(module, field)) for field in _FIELDS[name][1]}}
    has_bias = name in ("Linear", "Conv1d", "Conv2d", "LayerNorm")
    return spec | ({"bias": module.bias is not None} if has_bias else {})


def build(spec: Mapping[str, Any]) -> nn.Module:
    """A fresh layer from its spec.

    Raises:
        ArtifactError: the spec names a type or an argument that is not in the table.
    """
    if spec.get("type") == "Sequential":
        layers = nn.Sequential()
        for name, child in spec["children"].items():
            layers.add_module(name, build(child))
        return layers
    if spec.get("type") not in _FIELDS:
        raise ArtifactError(f"structure names the layer type {spec.get('type')!r}; known: Sequential, {', '.join(_FIELDS)}")
    make: Callable[..., nn.Module] = _FIELDS[spec["type"]][0]
    if unknown := sorted(spec.keys() - {"type", "bias", *_FIELDS[spec["type"]][1]}):
        raise ArtifactError(f"structure gives a {spec['type']} the argument {unknown[0]!r}, which none has that Slimline wrote")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "type"}
    return make(**arguments)


def structure_edits(architecture: nn.Module, model: nn.Module) -> dict[str, Spec]:
    """The layers of `model` that differ from those of `architecture`: module name -> spec.

    Raises:
        ArtifactError: they differ in something that no spec can describe.
    """
    edits: dict[str, Spec] = {}
    _collect(architecture, model, "", edits)
    return edits


def replay(architecture: nn.Module, edits: Mapping[str, Spec]) -> nn.Module:
    """A copy of `architecture` with the edits made, outer modules first; new layers hold no trained weights.

    Raises:
        ArtifactError: an edit does not fit the architecture.
    """
    model = copy.deepcopy(architecture)
    for name, spec in sorted(edits.items()):
        _make_(model, name, spec)
    return model


def _make_(model: nn.Module, name: str, spec: Spec) -> None:
    with told_as(lambda reason: ArtifactError(f"structure edit of {name!r} does not fit the workload's architecture: {reason}")):
        if spec.get("type") == CHANGED:
            _change_(model.get_submodule(name), spec)
        elif spec.get("type") == SHORTENED:
            _shorten_(model.get_submodule(name), spec)
        else:
            model.set_submodule(name, build(spec), strict=True)


def _collect(old: nn.Module, new: nn.Module, name: str, edits: dict[str, Spec]) -> None:
    old_spec, new_spec = describe(old), describe(new)
    if new_spec is not None and new_spec["type"] == "Attention":
        if old_spec != new_spec:
            edits[name] = new_spec
        _collect_inside(build(new_spec), new, name, edits)
    elif new_spec is not None and (new_spec["type"] != "Sequential" or _holds_others(old, new)):
        if old_spec != new_spec:
            edits[name] = new_spec
    elif _made_as(old) != _made_as(new):
        raise ArtifactError(
            f"layer {name or 'model'!r} changed from {type(old).__name__} to {type(new).__name__}; it cannot be stored as a spec"
        )
    else:
        if own := _own_changes(old, new, name):
            edits[name] = own
        _collect_inside(old, new, name, edits)


def _made_as(module: nn.Module) -> tuple[str, str]:
    """Where a module's class is written. A class inside a function, or of a torch.fx.GraphModule, is made anew with each model."""
    return type(module).__module__, type(module).__qualname__


def _holds_others(old: nn.Module, new: nn.Module) -> bool:
    """Whether a Sequential stands where none was, or one with other entries."""
    return type(new) is not type(old) or dict(old.named_children()).keys() != dict(new.named_children()).keys()


def _collect_inside(old: nn.Module, new: nn.Module, name: str, edits: dict[str, Spec]) -> None:
    old_children, new_children = dict(old.named_children()), dict(new.named_children())
    if isinstance(new, nn.ModuleList) and 0 < len(new) < len(old_children):
        edits[name] = {"type": SHORTENED, "length": len(new)}
    elif old_children.keys() != new_children.keys():
        raise ArtifactError(f"layer {name or 'model'!r} holds other modules than before; it cannot be stored as a spec")
    for child, module in new_children.items():
        _collect(old_children[child], module, f"{name}.{child}".lstrip("."), edits)


def _own_changes(old: nn.Module, new: nn.Module, name: str) -> Spec | None:
    """What a module of a type without a spec holds itself: numbers that a method changed, and tensors of other shapes."""
    before, values = numbers_of(old), numbers_of(new)
    changed = {key: _plain(value) for key, value in values.items() if key in before and value != before[key]}
    shapes = {
        key: list(value.shape) for key, value in _tensors(new).items() if key in _tensors(old) and value.shape != _tensors(old)[key].shape
    }
    if lost := sorted(shapes.keys() & new._non_persistent_buffers_set):
        raise ArtifactError(f"buffer {lost[0]!r} of {name or 'the model'} changed its shape and is not persistent: it cannot be stored")
    return {"type": CHANGED, "numbers": changed, "shapes": shapes} if changed or shapes else None


def _change_(module: nn.Module, spec: Spec) -> None:
    for key, value in spec["numbers"].items():
        value = tuple(value) if isinstance(value, list) else value
        if not _is_number(value) or type(numbers_of(module)[key]) is not type(value):
            raise TypeError(f"{key} is no such number")
        _set_(module, key, value)
    for key, shape in spec["shapes"].items():
        old = _tensors(module)[key]
        fresh = torch.zeros(shape, dtype=old.dtype)
        setattr(module, key, nn.Parameter(fresh, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else fresh)


def _set_(module: Any, key: str, value: Any) -> None:
    if not key.startswith(CONFIG):
        setattr(module, key, value)
        return
    module.config = copy.copy(module.config)
    setattr(module.config, key.removeprefix(CONFIG), value)


def _shorten_(layers: nn.Module, spec: Spec) -> None:
    if not isinstance(layers, nn.ModuleList) or not 0 < spec["length"] < len(layers):
        raise ValueError(f"no list of more than {spec['length']} modules")
    del layers[spec["length"] :]


def numbers_of(module: nn.Module) -> dict[str, Any]:
    """The plain numbers that a module holds itself, and those of its config: what a method may change and a spec stores."""
    config = getattr(module, "config", None)
    settings = _own_numbers(config) if hasattr(config, "__dict__") and not isinstance(config, nn.Module) else {}
    return _own_numbers(module) | {f"{CONFIG}{key}": value for key, value in settings.items()}


def _own_numbers(holder: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(holder).items() if _is_number(value) and not key.startswith("_") and key != "training"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (type(value) is tuple and all(type(entry) is int for entry in value))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
