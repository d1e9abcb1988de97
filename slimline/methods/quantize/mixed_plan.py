"""The plan of a mixed quantization: why each layer got its precision, what was reverted, and whether bound and budget are met."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimline.methods.quantize.mixed_cost import Candidates, Cost, goal
from slimline.methods.quantize.mixed_search import Found, Judged, Revert
from slimline.methods.quantize.plan import Plan
from slimline.methods.quantize.quantized import Quantized
from slimline.params.quantize import MixedParams

DIGITS = 6
SHARED = "as the embedding whose weight it shares"


@dataclass(frozen=True)
class Chosen:
    """What the search found, and by which figures: each layer's harm alone, and the two costs."""

    found: Found
    alone: Mapping[str, Mapping[str, Judged]]
    entries: Candidates
    size: Cost
    latency: Cost

    def cost(self, config: MixedParams) -> Cost:
        """The one that the budget is about."""
        return self.size if config.budget.size_ratio else self.latency


def mixed_plan(made: Quantized, config: MixedParams, chosen: Chosen) -> Quantized:
    """The same with reasons in every entry, `plan["mixed"]` and sentences for the page.

    `mixed` holds the budget and the bound, whether each is met, the reverts in order, the whole plan's drop, flips and
    divergence before and after them, both estimated ratios, and each layer's harm alone in every precision.
    """
    chosen_for = chosen.found.assignment
    reasons = {name: _reason(name, config, chosen) if name in chosen_for else SHARED for name in made.plan["layers"]}
    layers = {name: {**entry, "reason": reasons[name]} for name, entry in made.plan["layers"].items()}
    facts = _facts(config, chosen)
    plan = {**made.plan, "layers": layers, "mixed": facts}
    return dataclasses.replace(made, plan=plan, notes=(*made.notes, bound_text(facts), budget_text(facts), _reverts_text(facts)))


def missed(plan: Plan) -> tuple[str, ...]:
    """What a mixed plan was to keep to and does not, in sentences for the top of the page; nothing for other plans."""
    facts = plan.get("mixed")
    if facts is None:
        return ()
    return tuple(text for name, text in (("bound", bound_text(facts)), ("budget", budget_text(facts))) if not facts["met"][name])


def bound_text(facts: Mapping[str, Any]) -> str:
    """Whether the accuracy bound holds, in a sentence, with the figures."""
    bound, flips = facts["bound"], facts["flips"]
    limits = f"at most {bound['max_drop']:.4f}" + ("" if bound["max_flips"] is None else f", flips at most {bound['max_flips']:.2%}")
    figures = f"validation drops by {facts['drop']:.4f} and {flips:.2%} of the answers flip ({limits})"
    return f"Bound held: {figures}." if facts["met"]["bound"] else f"Bound not met: best found, and kept: {figures}."


def budget_text(facts: Mapping[str, Any]) -> str:
    """Whether the budget is met, in a sentence, and what kept it from it."""
    name, wanted = next((name, value) for name, value in facts["budget"].items() if value is not None)
    reached, first = facts[f"estimated_{name}"], facts["before_reverts"][f"estimated_{name}"]
    kind = {"size_ratio": "smaller", "latency_ratio": "faster, by MACs"}[name]
    if facts["met"]["budget"]:
        return f"Budget met: {reached:.2f} times {kind} (at least {wanted:g})."
    why = "the reverts took more than it allows" if first >= wanted else f"the smallest choice for every layer gives {first:.2f}"
    if name == "size_ratio" and facts["fixed_bytes"] > facts["allowed_bytes"]:
        fixed, allowed = f"{facts['fixed_bytes']:,}", f"{facts['allowed_bytes']:,}"
        why = f"out of reach, since {fixed} bytes stay float whatever is chosen and {allowed} are allowed"
    return f"Budget not met: {reached:.2f} times {kind}, not {wanted:g}: {why}."


def _facts(config: MixedParams, chosen: Chosen) -> dict[str, Any]:
    found, cost = chosen.found, chosen.cost(config)
    return {
        "budget": config.budget.model_dump(),
        "fixed_bytes": round(chosen.size.fixed),
        "allowed_bytes": round(chosen.size.reference / (config.budget.size_ratio or 1.0)),
        "bound": {"max_drop": config.max_drop, "max_flips": config.max_flips},
        "met": {"bound": found.reached, "budget": cost.ratio(found.assignment) >= goal(config.budget)},
        **_figures(found.judged),
        **_ratios(chosen, found.assignment),
        "before_reverts": _figures(found.first) | _ratios(chosen, found.start),
        "reverted": [_reverted(revert, config) for revert in found.reverts],
        "alone": {name: {precision: _figures(judged) for precision, judged in one.items()} for name, one in chosen.alone.items()},
    }


def _figures(judged: Judged) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in (("drop", judged.drop), ("flips", judged.flips))} | {
        "divergence": float(f"{judged.divergence:.{DIGITS}g}")
    }


def _ratios(chosen: Chosen, assignment: Mapping[str, str]) -> dict[str, float]:
    ratios = {"estimated_size_ratio": chosen.size.ratio(assignment), "estimated_latency_ratio": chosen.latency.ratio(assignment)}
    return {name: round(value, DIGITS) for name, value in ratios.items()}


def _reverted(revert: Revert, config: MixedParams) -> dict[str, Any]:
    before, after = revert.judged_before, revert.judged_after
    change = (
        f"drop {before.drop:.4f} to {after.drop:.4f}, flips {before.flips:.2%} to {after.flips:.2%}, "
        f"divergence {before.divergence:.2g} to {after.divergence:.2g}"
    )
    others = "" if len(revert.tried) == 1 else f"; gained most for its cost of {', '.join(revert.tried)}"
    return {
        "layer": revert.layer,
        "from": revert.before,
        "to": revert.after,
        "reason": f"the plan was beyond the bound; {change}; costs {_amount(revert.cost, config)}{others}",
        "before": _figures(before),
        "after": _figures(after),
    }


def _reason(name: str, config: MixedParams, chosen: Chosen) -> str:
    precision = chosen.found.assignment[name]
    own = chosen.entries[name][precision]["reason"]
    if len(chosen.entries[name]) == 1:
        return str(own or f"{precision} is all that it may be")
    if back := [revert for revert in chosen.found.reverts if revert.layer == name]:
        return f"reverted from {back[0].before}: {_alone(chosen.alone[name][back[0].before])} alone"
    top = next(iter(chosen.entries[name]))
    if precision == top:
        smaller = list(chosen.entries[name])[1]
        return f"the budget needs no smaller one; {smaller} alone: {_alone(chosen.alone[name][smaller])}"
    saved = _amount(chosen.cost(config).saving(name, top, precision), config)
    extra = f"; {own}" if own else ""
    return f"saves {saved}; alone: {_alone(chosen.alone[name][precision])}{extra}"


def _alone(judged: Judged) -> str:
    return f"drop {judged.drop:.4f}, divergence {judged.divergence:.2g}"


def _amount(cost: float, config: MixedParams) -> str:
    return f"{cost:,.0f} bytes" if config.budget.size_ratio else f"the time of {cost:,.0f} MACs"


def _reverts_text(facts: Mapping[str, Any]) -> str:
    if not facts["reverted"]:
        return "No layer had to be reverted."
    steps = [f"{revert['layer']} ({revert['from']} to {revert['to']})" for revert in facts["reverted"]]
    return f"Reverted: {', '.join(steps)}."
