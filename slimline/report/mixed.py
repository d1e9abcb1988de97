"""What a stage page tells of a mixed-precision plan: bound and budget, the reverts, and each layer's harm alone."""

import math
from collections.abc import Mapping
from typing import Any

from slimline.report.figures import line_figure
from slimline.report.numbers import number, percent
from slimline.report.page import Figure, Table

SMALLEST = 1e-9
EXACT = "float32"


def mixed_tables(plan: Mapping[str, Any]) -> tuple[Table, ...]:
    """Bound and budget, and the reverts in order; nothing for a plan that is not mixed."""
    facts = plan.get("mixed")
    return () if facts is None else (_limits(facts), *((_reverts(facts),) if facts["reverted"] else ()))


def mixed_figures(plan: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Each layer's harm when it alone is changed, a line a precision; nothing for a plan that is not mixed."""
    facts = plan.get("mixed")
    if facts is None:
        return ()
    names = list(dict.fromkeys(name for one in facts["alone"].values() for name in one if name != EXACT))
    lines = {name: _points(facts["alone"], name) for name in names}
    drawing = line_figure(lines, x_label="layer, in the order of the plan", y_label="log10 of the divergence")
    note = "Kullback-Leibler divergence of the outputs from the source's, with that layer alone in that precision; lower is better."
    return (Figure("Sensitivity by layer and precision", drawing, note),)


def _points(alone: Mapping[str, Any], precision: str) -> list[tuple[float, float]]:
    return [
        (float(index), math.log10(max(one[precision]["divergence"], SMALLEST)))
        for index, one in enumerate(alone.values(), start=1)
        if precision in one
    ]


def _limits(facts: Mapping[str, Any]) -> Table:
    before, bound, met = facts["before_reverts"], facts["bound"], facts["met"]
    rows: list[tuple[object, ...]] = [
        ("drop on validation", f"at most {bound['max_drop']:g}", number(before["drop"]), number(facts["drop"])),
        ("flips on validation and calibration", _at_most(bound["max_flips"]), percent(before["flips"]), percent(facts["flips"])),
    ]
    for name, words in (("size_ratio", "times smaller"), ("latency_ratio", "times faster, by MACs")):
        asked = facts["budget"][name]
        shown = "no budget" if asked is None else f"at least {asked:g}"
        rows.append((words, shown, number(before[f"estimated_{name}"]), number(facts[f"estimated_{name}"])))
    verdict = f"Bound: {'held' if met['bound'] else 'NOT met, the best found is kept'}. Budget: {'met' if met['budget'] else 'NOT met'}."
    return Table("Bound and budget", ("", "asked for", "before the reverts", "as kept"), tuple(rows), verdict)


def _at_most(share: float | None) -> str:
    return "no bound" if share is None else f"at most {percent(share)}"


def _reverts(facts: Mapping[str, Any]) -> Table:
    rows = tuple((index, one["layer"], one["from"], one["to"], one["reason"]) for index, one in enumerate(facts["reverted"], start=1))
    return Table("Reverted, in order", ("", "layer", "from", "to", "why"), rows)
