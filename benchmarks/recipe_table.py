"""The tables of benchmarks/recipe_search.py as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimline.report.numbers import loss, ratio


def search_markdown(found: Mapping[str, Any], beside: Sequence[str], load: str) -> str:
    """What was judged on test, the chain by hand among it, and whether a chain that was found is at least as good."""
    counts = found["counts"]
    lines = [
        f"# The search on {found['workload']}",
        "",
        f"{counts['tried']} of {counts['space']} chains tried, {counts['full']} trained in full; "
        f"{found['wall_minutes']:.1f} minutes; {load}.",
        "",
        "| variant | target | drop on test | smaller | as fast as eager | verdict |",
        "|:--|:--|--:|--:|--:|:--|",
        *(_row(row, row["variant"] in beside) for row in found["judged"]),
        "",
        *(_verdict(found["judged"], beside, target) for target in sorted({row["target"] for row in found["judged"]})),
    ]
    return "\n".join(lines) + "\n"


def orders_markdown(seeds: Mapping[str, Any], chains: Sequence[str], apart: Mapping[str, float] | None, load: str) -> str:
    """Each seed's drops on test, and the difference of the first two chains with its interval."""
    lines = ["# prune → int8 → distil, or prune → distil → int8", "", f"{len(seeds)} seeds; {load}.", ""]
    lines += [f"| seed | {' | '.join(chains)} |", f"|--:|{'--:|' * len(chains)}"]
    lines += [f"| {seed} | {' | '.join(loss(of[chain]['drop']) for chain in chains)} |" for seed, of in seeds.items()]
    if apart is not None:
        shown = "no order is shown to be better" if apart["low"] <= 0 <= apart["high"] else f"{chains[apart['value'] > 0]} loses less"
        interval = f"{loss(apart['value'])} [{loss(apart['low'])} to {loss(apart['high'])}]"
        lines += ["", f"Drop of the first less that of the second, 95 % over seeds: {interval}; {shown}."]
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, Any], is_by_hand: bool) -> str:
    name = f"{row['variant']} (by hand)" if is_by_hand else row["variant"]
    if row.get("missed") is not None:
        return f"| {name} | {row['target']} | | | | {row['verdict']} |"
    low, high = row["drop"]["ci"]
    speed = row["speed_ratio"]["batch_1"]
    fast = f"{ratio(speed['value'])} [{ratio(speed['ci'][0])} to {ratio(speed['ci'][1])}]"
    drop = f"{loss(row['drop']['value'])} [{loss(low)} to {loss(high)}]"
    return f"| {name} | {row['target']} | {drop} | {ratio(row['size_ratio'])} | {fast} | {row['verdict']} |"


def _verdict(rows: Sequence[Mapping[str, Any]], beside: Sequence[str], target: str) -> str:
    """Whether a found chain is at least as small, and not shown to be slower, than every one by hand."""
    there = [row for row in rows if row["target"] == target and row.get("missed") is None]
    hand = [row for row in there if row["variant"] in beside]
    better = [row["variant"] for row in there if row not in hand and all(_at_least(row, other) for other in hand)]
    return f"{target}: at least as good on size and speed as the chain by hand: {', '.join(better) or 'none'}."


def _at_least(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    fast, theirs = (one["speed_ratio"]["batch_1"] for one in (row, other))
    is_kept = row["verdict"] == "accept" or other["verdict"] != "accept"
    return bool(is_kept and row["size_ratio"] >= other["size_ratio"] and fast["ci"][1] >= theirs["ci"][0])
