"""What a quantized model keeps in float, and its share of the bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimline.methods.quantize.stored_bytes import Part
from slimline.report.numbers import percent
from slimline.report.page import Table

SHOWN = 20
NOTHING_PLANS = "no method plans such a module"
BIASES = "biases of the planned layers"
IDLE = "does not run, so no graph holds it"


def float_rest_text(parts: Sequence[Part]) -> str:
    """How much of the bytes stays as it is, in a sentence."""
    kept, total = _kept(parts), _total(parts)
    most = max((part for part in parts if not part.small), key=lambda part: part.kept, default=None)
    names = f"; the most of it is {_label(most)} ({most.type}), {most.kept:,} bytes" if most is not None and most.kept else ""
    return f"{percent(kept / total)} of the {total:,} bytes stay in float{names}."


def float_rest_table(parts: Sequence[Part], plan: Mapping[str, Any]) -> Table:
    """What stays in float, the largest first, with its share of all bytes and why; and what is in no graph at all."""
    total, layers = _total(parts), plan["layers"]
    whole = sorted((part for part in parts if part.kept and not part.small), key=lambda part: -part.kept)
    rows = [(_label(part), part.type, part.kept, percent(part.kept / total), _why(part, layers)) for part in whole[:SHOWN]]
    for label, some in ((f"{len(whole[SHOWN:])} smaller ones", whole[SHOWN:]), (BIASES, [part for part in parts if part.small])):
        if kept := sum(part.kept for part in some):
            rows.append((label, "", kept, percent(kept / total), ""))
    rows += [(_label(part), part.type, part.unread, "not counted", IDLE) for part in parts if _is_idle(part)]
    note = "Shares are of the bytes of all weights and buffers as planned, scales and zero points included, batch norms folded."
    return Table("What stays in float", ("module", "type", "bytes", "share", "why"), tuple(rows), note)


def _why(part: Part, layers: Mapping[str, Any]) -> str:
    return str(layers[part.name]["reason"] or "") if part.name in layers else NOTHING_PLANS


def _is_idle(part: Part) -> bool:
    return part.unread > 0 and not part.kept and not part.small and part.type[:9] != "BatchNorm"


def _label(part: Part) -> str:
    return part.name or "the model itself"


def _kept(parts: Sequence[Part]) -> int:
    return sum(part.kept for part in parts)


def _total(parts: Sequence[Part]) -> int:
    return sum(part.small + part.kept for part in parts) or 1
