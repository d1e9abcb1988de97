"""The page of a recipe search, its JSON, and the entries that it found, to be pasted into params.yaml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimline.artifact.folder import write_json, write_text
from slimline.params import Params
from slimline.params.overrides import flow
from slimline.report.numbers import listed, quantity
from slimline.report.page import Figure, StagePage, Table
from slimline.report.render import TEMPLATES, render
from slimline.report.search_tables import chains_table, effects_table, fates, judged_table, orders_table, points_figure
from slimline.search.effects import Effect, order_effects, technique_effects
from slimline.search.entries import sections
from slimline.search.record import Tried

HOME = "../../../reports/index.html"
PUT_OFF = (
    "At the chains that are put off the machine failed, for want of memory or disk or by a kill, and not the method: the next call tries "
    "them again, those of the full training while they are among the best."
)


def write_search(
    folder: Path,
    params: Params,
    tried: Sequence[Tried],
    front: Sequence[Tried],
    summary: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    project: Path,
) -> dict[str, Any]:
    """Write search.{html,md,json} and found.yaml into `folder`; what search.json holds is given back.

    `front` was judged on test and `summary` is its reports/summary.json; `facts` has `orders`, `space` (how many chains there are),
    `seconds`, and `judged_before`: how many pairs of a variant and a target earlier calls had judged.
    """
    effects = (*technique_effects(tried), *order_effects(tried))
    accepted = [one.name for one in front if "accept" in (row["verdict"] for row in summary["variants"] if row["variant"] == one.name)]
    winners = [one for one in front if one.name in accepted]
    found = {"schema": 1, "metric": params.gate.metric, **facts, "counts": _counts(tried, front, facts), "accepted": accepted}
    found |= {"fates": fates(tried, front), "effects": [vars(effect) for effect in effects]}
    found |= {"chains": [one.as_json() for one in tried], "judged": _judged(front, params, summary)}
    page = search_page(params, tried, front, summary, effects, found)
    for ending in ("html", "md"):
        text = render(f"stage.{ending}.j2", {"page": page, "home": HOME}, project / TEMPLATES)
        write_text(folder / f"search.{ending}", text)
    write_text(folder / "found.yaml", found_yaml(winners or front, is_accepted=bool(winners)))
    write_json(folder / "search.json", found)
    return found


def search_page(
    params: Params,
    tried: Sequence[Tried],
    front: Sequence[Tried],
    summary: Mapping[str, Any],
    effects: Sequence[Effect],
    found: Mapping[str, Any],
) -> StagePage:
    """All of it for people."""
    unit = str(summary["variants"][0]["drop"].get("unit", "fraction")) if summary["variants"] else "fraction"
    return StagePage(
        stage="search",
        variant="search",
        title="The recipe search",
        summary=_summary(params, found, unit),
        comparison=(),
        tables=(
            judged_table(front, params, summary),
            _entries_table(front, found["accepted"]),
            orders_table(tried, found["accepted"]),
            effects_table(effects, unit),
            chains_table(tried, front, unit),
        ),
        figures=(
            Figure("Every chain: drop and size", points_figure(tried, front, params, "size")),
            Figure("Every chain: drop and estimated time", points_figure(tried, front, params, "time")),
        ),
        notes=_notes(found),
    )


def found_yaml(chains: Sequence[Tried], *, is_accepted: bool) -> str:
    """The chains' entries, to be pasted into params.yaml section by section."""
    head = "# Accepted by the gate on test." if is_accepted else "# Nothing passed the gate; this came nearest."
    lines = [f"{head} Paste the entries into their sections of params.yaml, and the names into deploy.variants."]
    for section, entries in sections([entry for one in chains for entry in one.entries]).items():
        lines += [f"{section}:", *(f"  {name}: {flow(entry)}" for name, entry in entries.items())] if entries else []
    lines.append(f"# deploy.variants: {flow([one.name for one in chains])}")
    return "\n".join(lines) + "\n"


def _entries_table(front: Sequence[Tried], accepted: Sequence[str]) -> Table:
    shown = [one for one in front if one.name in accepted] or list(front)
    named = sections([entry for one in shown for entry in one.entries])
    rows = tuple((section, f"{name}: {flow(entry)}") for section, entries in named.items() for name, entry in entries.items())
    return Table("Entries for params.yaml", ("section", "entry"), rows, "found.yaml, beside this page, has them to paste.")


def _counts(tried: Sequence[Tried], front: Sequence[Tried], facts: Mapping[str, Any]) -> dict[str, int]:
    full = sum(one.full is not None for one in tried)
    of_orders = {"orders": facts["orders"], "orders_tried": len({one.order for one in tried})}
    return {"space": facts["space"], **of_orders, "tried": len(tried), "full": full, "judged": len(front)}


def _judged(front: Sequence[Tried], params: Params, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    beside = set(params.search.beside) if params.search else set()
    names = {one.name for one in front} | beside
    return [dict(row) for row in summary["variants"] if row["variant"] in names]


def _summary(params: Params, found: Mapping[str, Any], unit: str) -> tuple[str, ...]:
    counts, minutes = found["counts"], found["seconds"] / 60
    bound = quantity(params.gate.max_drop, unit) if params.gate.max_relative_drop is None else f"{params.gate.max_relative_drop:.1%} of it"
    accepted = listed(found["accepted"]) if found["accepted"] else "none"
    return (
        f"{counts['tried']} of {counts['space']:,} chains, in {counts['orders_tried']} of {counts['orders']} legal orders, were trained "
        f"briefly, {counts['full']} in full; "
        f"{counts['judged']} were compiled and judged on test, in {minutes:.1f} minutes.",
        f"Asked was a drop of at most {bound}; accepted: {accepted}.",
    )


def _notes(found: Mapping[str, Any]) -> tuple[str, ...]:
    fates_told = "; ".join(f"{count} {fate}" for fate, count in found["fates"].items())
    put_off = any(chain["put_off"] for chain in found["chains"])
    left = found["counts"]["orders"] - found["counts"]["orders_tried"]
    return (
        f"What became of the chains: {fates_told}.",
        *([f"Not reached: {left} legal orders, the longest of all, or the slowest to train as far as is known."] if left else []),
        *([PUT_OFF] if put_off else []),
        "Chains are compared on validation. Their size is that of the stored weights, of a plan as planned; their time is estimated from "
        "multiply-accumulates priced by kind of layer and precision (docs/decisions/0007): no clock judges a chain before the frontier is "
        "timed.",
        "A call shows test its frontier alone. Its verdicts hold together with the gate's confidence (Holm over those judged in this call):"
        " test had no part in choosing them, so the chains that were left on validation need no correction there.",
        _of_earlier_calls(found["judged_before"]),
        "Validation figures of the best of many are flattered by the choice; only those on test are not.",
        "Effects are of the brief training, which all chains had, strengths held equal; each interval is of one effect alone.",
    )


def _of_earlier_calls(judged: int) -> str:
    if not judged:
        return "Test has judged nothing else in this search: no earlier call is to be corrected for."
    return (
        f"Other pairs of a variant and a target that test had judged before: {judged}. They stay counted (Bonferroni), so that the "
        "verdicts of this page hold among all of them; those of an earlier page held among what had been judged by then."
    )
