"""reports/summary.json: every deployed variant with what was measured and what the gate made of it."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Rejected:
    """A deployed variant that was not made: by which stage, and what that said. It has no figures."""

    variant: str
    target: str
    stage: str
    method: str
    source: str
    missed: str
    reason: str

    @property
    def row(self) -> dict[str, Any]:
        """As it stands in summary.json: rejected, `missed` names the stage, every figure is null."""
        figures: dict[str, Any] = dict.fromkeys((*FROM_QUALITY, *FROM_TIMING)) | {"quality": {}}
        known = {key: value for key, value in vars(self).items() if key != "reason"}
        return figures | known | {"verdict": "reject", "reasons": [self.reason], "release": None}


@dataclass(frozen=True)
class Missing:
    """What a run could not judge: a variant on a target (None where it is not deployed); which stage failed, and why."""

    variant: str
    target: str | None
    stage: str
    reason: str


def read_rejected(folder: Path, variant: str, target: str) -> Rejected | None:
    """What evaluate wrote of a variant that was not made; None of one that was, or where there is nothing."""
    path = folder / f"{variant}-{target}.json"
    facts = read_json(path) if path.is_file() else {}
    if "missed" not in facts:
        return None
    return Rejected(variant, target, **{key: facts[key] for key in ("stage", "method", "source", "missed", "reason")})


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


def summarise(
    workload: str, run: Mapping[str, Any], judged: Sequence[Evaluation | Rejected], missing: Sequence[Missing] = ()
) -> dict[str, Any]:
    """The whole summary; the rows keep the order of params.yaml, `missing` names what a failed stage has kept from being judged."""
    return {
        "schema": SCHEMA,
        "workload": workload,
        "run": dict(run),
        "baseline": _baseline(evaluations_of(judged)),
        "variants": [one.row if isinstance(one, Rejected) else _row(one) for one in judged],
        "missing": [asdict(one) for one in missing],
    }


def evaluations_of(judged: Sequence[Evaluation | Rejected]) -> tuple[Evaluation, ...]:
    """Those that were measured."""
    return tuple(one for one in judged if isinstance(one, Evaluation))


def measured(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of summary.json that have figures: all but those of variants that were not made."""
    return [row for row in rows if row.get("missed") is None]


def count_verdicts(summary: Mapping[str, Any]) -> dict[str, int]:
    """How many rows have each verdict."""
    return {verdict: sum(row["verdict"] == verdict for row in summary["variants"]) for verdict in VERDICTS}


def preferred(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The accepted row of fewest bytes (then by name): the one that an alias points at."""
    accepted = [row for row in rows if row["verdict"] == "accept"]
    return min(accepted, key=lambda row: (row["size_bytes"], row["variant"], row["target"])) if accepted else None


def by_merit(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Accepted rows first, then undecided, then rejected; in each the smallest first, what was not made last."""

    def merit(row: Mapping[str, Any]) -> tuple[int, float, str, str]:
        size_bytes = math.inf if row["size_bytes"] is None else row["size_bytes"]
        return VERDICTS.index(row["verdict"]), size_bytes, row["variant"], row["target"]

    return sorted(rows, key=merit)


def one_machine(evaluations: Sequence[Evaluation]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The machine that most timings come from, and the keys of those that come from another one."""
    machines = [evaluation.timing["machine"] for evaluation in evaluations]
    most = max(machines, key=machines.count)
    return dict(most), tuple(evaluation.key for evaluation in evaluations if evaluation.timing["machine"] != most)


def _row(evaluation: Evaluation) -> dict[str, Any]:
    row = {name: evaluation.quality[name] for name in FROM_QUALITY} | {name: evaluation.timing[name] for name in FROM_TIMING}
    accepted = evaluation.verdict == "accept"
    release = evaluation.quality["artifact_sha256"][:RELEASE_DIGITS] if accepted else None
    return row | {"verdict": evaluation.verdict, "reasons": list(evaluation.reasons), "release": release, "missed": None}


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
