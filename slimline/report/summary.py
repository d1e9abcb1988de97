"""reports/summary.json: every deployed variant with what was measured and what the gate made of it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.artifact.manifest import read_json
from slimline.errors import StageError

SCHEMA = 1
RELEASE_DIGITS = 20
VERDICTS = ("accept", "inconclusive", "reject")
FROM_QUALITY = (
    *("variant", "target", "stage", "method", "source", "precision", "computes", "samples", "quality", "drop", "detectable_drop", "flips"),
    *("size_bytes", "size_ratio", "parameters", "nonzero", "macs"),
)
FROM_TIMING = ("latency_ms", "speed_ratio", "speed_ratio_same_runtime", "noise_floor", "peak_memory_bytes", "energy_mj", "energy_reason")


@dataclass(frozen=True)
class Evaluation:
    """What evaluate wrote of one variant on one target, and the gate's verdict on it."""

    quality: Mapping[str, Any]
    timing: Mapping[str, Any]
    verdict: str
    reasons: tuple[str, ...]

    @property
    def key(self) -> str:
        """variant-target, as files and releases are named."""
        return f"{self.quality['variant']}-{self.quality['target']}"


def read_measured(folder: Path, variant: str, target: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two files that evaluate wrote: quality and timing.

    Raises:
        ArtifactError: a file is missing or damaged.
        StageError: it is of another schema, or lacks a figure.
    """
    found = []
    for ending, needed in (
        ("json", (*FROM_QUALITY, "baseline", "artifact_sha256")),
        ("timing.json", (*FROM_TIMING, "baseline", "machine")),
    ):
        path = folder / f"{variant}-{target}.{ending}"
        data = read_json(path)
        lacking = [name for name in needed if name not in data]
        if data.get("schema") != SCHEMA or lacking:
            why = f"lacks {', '.join(lacking)}" if lacking else f"has schema {data.get('schema')!r}, expected {SCHEMA}"
            raise StageError(f"{path}: {why}; run `dvc repro -f evaluate@{variant}-{target}`")
        found.append(data)
    return found[0], found[1]


def summarise(workload: str, run: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The whole summary; the rows keep the order of params.yaml."""
    rows = [_row(evaluation) for evaluation in evaluations]
    return {"schema": SCHEMA, "workload": workload, "run": dict(run), "baseline": _baseline(evaluations), "variants": rows}


def count_verdicts(summary: Mapping[str, Any]) -> dict[str, int]:
    """How many rows have each verdict."""
    return {verdict: sum(row["verdict"] == verdict for row in summary["variants"]) for verdict in VERDICTS}


def preferred(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The accepted row of fewest bytes (then by name): the one that an alias points at."""
    accepted = [row for row in rows if row["verdict"] == "accept"]
    return min(accepted, key=lambda row: (row["size_bytes"], row["variant"], row["target"])) if accepted else None


def by_merit(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Accepted rows first, then undecided, then rejected; in each the smallest first."""
    return sorted(rows, key=lambda row: (VERDICTS.index(row["verdict"]), row["size_bytes"], row["variant"], row["target"]))


def one_machine(evaluations: Sequence[Evaluation]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The machine that most timings come from, and the keys of those that come from another one."""
    machines = [evaluation.timing["machine"] for evaluation in evaluations]
    most = max(machines, key=machines.count)
    return dict(most), tuple(evaluation.key for evaluation in evaluations if evaluation.timing["machine"] != most)


def _row(evaluation: Evaluation) -> dict[str, Any]:
    row = {name: evaluation.quality[name] for name in FROM_QUALITY} | {name: evaluation.timing[name] for name in FROM_TIMING}
    accepted = evaluation.verdict == "accept"
    release = evaluation.quality["artifact_sha256"][:RELEASE_DIGITS] if accepted else None
    return row | {"verdict": evaluation.verdict, "reasons": list(evaluation.reasons), "release": release}


def _baseline(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The teacher in eager PyTorch: quality as measured once, times as the median over all evaluations that timed it."""
    timings = [evaluation.timing["baseline"] for evaluation in evaluations]
    latency = {
        batch: {name: statistics.median(timing["latency_ms"][batch][name] for timing in timings) for name in percentiles}
        for batch, percentiles in timings[0]["latency_ms"].items()
    }
    memory = round(statistics.median(timing["peak_memory_bytes"] for timing in timings))
    return {
        **evaluations[0].quality["baseline"],
        "variant": "teacher",
        "target": "eager",
        "latency_ms": latency,
        "peak_memory_bytes": memory,
    }
