"""How a model differs in shape from its workload's architecture, as plain data, and how to replay that.

Nothing about the method that made the difference is stored: the specs name layers and their arguments only.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from slimline.errors import ArtifactError

Spec = dict[str, Any]

_CONV_FIELDS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_RECURRENT_FIELDS = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
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
}
_NAMES: dict[type[nn.Module], str] = {kind: name for name, (kind, _) in _FIELDS.items()}


def describe(module: nn.Module) -> Spec | None:
    """The type and arguments of a layer (or of a Sequential of layers); None for anything else."""
    if type(module) is nn.Sequential:
        children = {name: describe(child) for name, child in module.named_children()}
        return None if None in children.values() else {"type": "Sequential", "children": children}
    name = _NAMES.get(type(module))
    if name is None:
        return None
    spec: Spec = {"type": name, **{field: _plain(getattr(module, field)) for field in _FIELDS[name][1]}}
    return spec | ({"bias": module.bias is not None} if hasattr(module, "bias") and name in ("Linear", "Conv1d", "Conv2d") else {})


def build(spec: Mapping[str, Any]) -> nn.Module:
    """A fresh layer from its spec.

    Raises:
        ArtifactError: the spec names a type that is not in the table.
    """
    if spec.get("type") == "Sequential":
        layers = nn.Sequential()
        for name, child in spec["children"].items():
            layers.add_module(name, build(child))
        return layers
    if spec.get("type") not in _FIELDS:
        raise ArtifactError(f"structure names the layer type {spec.get('type')!r}; known: Sequential, {', '.join(_FIELDS)}")
    make: Callable[..., nn.Module] = _FIELDS[spec["type"]][0]
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
    """A copy of `architecture` with the edits made; new layers are uninitialised in the sense of untrained."""
    model = copy.deepcopy(architecture)
    for name, spec in edits.items():
        try:
            model.set_submodule(name, build(spec), strict=True)
        except (AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(f"structure edit of {name!r} does not fit the workload's architecture: {error}") from error
    return model


def _collect(old: nn.Module, new: nn.Module, name: str, edits: dict[str, Spec]) -> None:
    old_spec, new_spec = describe(old), describe(new)
    if new_spec is not None and old_spec != new_spec and type(new) is not type(old):
        edits[name] = new_spec
        return
    if new_spec is not None and new_spec["type"] != "Sequential":
        if old_spec != new_spec:
            edits[name] = new_spec
        return
    old_children, new_children = dict(old.named_children()), dict(new.named_children())
    if type(old) is not type(new) or old_children.keys() != new_children.keys():
        raise ArtifactError(
            f"layer {name or 'model'!r} changed from {type(old).__name__} to {type(new).__name__}; it cannot be stored as a spec"
        )
    for child, module in new_children.items():
        _collect(old_children[child], module, f"{name}.{child}".lstrip("."), edits)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
