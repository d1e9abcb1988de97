"""What a planned model takes: every parameter and buffer, the planned weights in their bits, all else as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.methods.layer_use import Uses
from slimline.methods.quantize.plan import INTEGERS, RECURRENT_TYPES, Plan, matrices, stored_bits

NO_PLAN: Plan = {"layers": {}}
SCALE_BYTES = 4


@dataclass(frozen=True)
class Part:
    """The bytes of one module's own tensors: `small` of those that a plan makes smaller, scales and zero points included, `kept` of others.

    `unread` are those that no graph holds, since nothing reads them in evaluation.
    """

    name: str
    type: str
    small: int
    kept: int
    unread: int


def stored_bytes(model: nn.Module, plan: Plan, uses: Uses, grids: Mapping[str, Tensor] = NO_GRIDS) -> int:
    """What a graph of the planned model holds; see stored_parts."""
    return sum(part.small + part.kept for part in stored_parts(model, plan, uses, grids))


def stored_parts(model: nn.Module, plan: Plan, uses: Uses, grids: Mapping[str, Tensor] = NO_GRIDS) -> tuple[Part, ...]:
    """Every module that holds parameters or buffers, in the model's order; what two of them share counts once, with the first.

    Planned weights take their bits, a float32 scale a channel or group, and where these are stored their zero points: as many bits
    as a weight where they are whole levels, else a float32. A batch norm right behind a layer is folded into it and leaves a bias
    there; that is where every target puts it. `grids` are those stored beside the plan.
    """
    seen: set[tuple[Any, ...]] = set()
    parts = []
    for name, module in model.named_modules():
        entry = plan["layers"].get(name)
        planned = set() if entry is None or entry["precision"] == "float32" else _weight_names(module)
        found = {"small": 0, "kept": _folded_bias(name, module, uses), "unread": 0}
        for key, value in _own_tensors(module).items():
            mark = value.untyped_storage().data_ptr(), value.storage_offset(), tuple(value.shape), key in planned
            if mark in seen or name in uses.folded:
                continue
            seen.add(mark)
            if not uses.is_read(f"{name}.{key}".lstrip(".")):
                found["unread"] += value.numel() * value.element_size()
            elif entry is not None and key in planned:
                found["small"] += _weight_bytes(value, entry, grids.get(f"{name}.zero_point"))
            else:
                found["kept"] += value.numel() * value.element_size()
        if any(found.values()):
            parts.append(Part(name, type(module).__name__, **found))
    return tuple(parts)


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _weight_names(layer: nn.Module) -> set[str]:
    return set(matrices(layer)) if isinstance(layer, RECURRENT_TYPES) else {"weight"}


def _folded_bias(name: str, module: nn.Module, uses: Uses) -> int:
    """The bias that a layer gets from the batch norms behind it, where it has none."""
    has_one = getattr(module, "bias", None) is not None
    return 0 if has_one or name not in uses.folded.values() else len(module.get_parameter("weight")) * SCALE_BYTES


def _weight_bytes(weight: Tensor, entry: Mapping[str, Any], zero_point: Tensor | None) -> int:
    values = weight.numel()
    if entry["precision"] not in INTEGERS:
        return values * 2
    bits, group_size = stored_bits(entry["precision"]), entry["group_size"] or weight[0].numel()
    scales = 1 if entry["granularity"] == "per-tensor" else values // group_size
    is_whole = zero_point is None or bool((zero_point == zero_point.round()).all())
    zero_point_bits = 0 if entry["symmetric"] else bits if is_whole else 8 * SCALE_BYTES
    return (values * bits + scales * (8 * SCALE_BYTES + zero_point_bits) + 7) // 8
