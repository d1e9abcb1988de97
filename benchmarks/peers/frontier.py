"""Who is ahead: a row of ours dominates a peer's if it is at least as good in drop, bytes and both speeds; else what it lacks, in words."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy import stats

Row = Mapping[str, Any]
BATCHES = ("batch_1", "batch_8", "batch_32", "prefill_256_batch_1")
"""What is compared where it was timed: a call at batch 1 and 32; of language models a token of decode after 256 at batch 1 and 8, and the
reading of those 256."""
CONFIDENCE = 0.95


def aggregated(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of several seeds as one row a variant and target: the mean drop with its interval over seeds, the figures of the first.

    With one seed the interval is that of the paired test samples.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for seed in seeds:
        for row in seed["rows"]:
            found.setdefault((row["variant"], row["target"]), []).append(row)
    return [_one(rows) for rows in found.values()]


def _one(rows: Sequence[Row]) -> dict[str, Any]:
    judged = [row for row in rows if "refused" not in row]
    if not judged:
        return dict(rows[0])
    drops = [row["drop"]["value"] for row in judged]
    centre = statistics.mean(drops)
    ci = tuple(judged[0]["drop"]["ci"])
    if len(drops) > 1:
        reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(drops) - 1)) * statistics.stdev(drops) / len(drops) ** 0.5
        ci = (centre - reach, centre + reach)
    return {
        **judged[0],
        "drop": {**judged[0]["drop"], "value": centre, "ci": ci},
        "seeds": len(drops),
        "failed_seeds": len(rows) - len(judged),
    }


def standing(peer: Row, ours: Sequence[Row]) -> str:
    """Which of ours dominates a peer's row; or on what it is ahead, beside the one of ours that lacks least.

    Ahead in speed is what lies beyond both noise floors; in drop, beyond what the test samples tell apart.
    """
    if "refused" in peer:
        return "made nothing"
    measured = [row for row in ours if "refused" not in row]
    lacks = {f"{row['variant']} on {row['target']}": list(_lacks(row, peer)) for row in measured}
    if best := [name for name, missing in lacks.items() if not missing]:
        return f"dominated by {', '.join(best[:3])}"
    if not lacks:
        return "none of ours was measured"
    name, missing = min(lacks.items(), key=lambda item: len(item[1]))
    return f"ahead of {name} by {'; '.join(missing)}"


def _lacks(own: Row, peer: Row) -> Iterator[str]:
    if own["drop"]["value"] > peer["drop"]["value"] and own["drop"]["value"] > peer["drop"]["ci"][1]:
        yield f"drop ({peer['drop']['value']:.4g} against {own['drop']['value']:.4g})"
    if own["size_bytes"] > peer["size_bytes"]:
        yield f"bytes ({peer['size_bytes']:,} against {own['size_bytes']:,})"
    for batch in BATCHES:
        if batch not in peer.get("speed_ratio", {}):
            continue
        if batch not in own.get("speed_ratio", {}):
            yield f"speed at {batch.replace('_', ' ')} (not timed)"
        else:
            mine, theirs = (row["speed_ratio"][batch]["value"] for row in (own, peer))
            noise = max(row["noise_floor"][batch]["value"] for row in (own, peer))
            if theirs > mine * (1 + noise):
                yield f"speed at {batch.replace('_', ' ')} ({theirs:.2f}x against {mine:.2f}x of eager)"
