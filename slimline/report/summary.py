"""reports/summary.json: every deployed variant with what was measured and what the gate made of it."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slimline.artifact.json_file import read_json
from slimline.errors import StageError
from slimline.measure.machine import machine_id

SCHEMA = 1
RELEASE_DIGITS = 20
VERDICTS = ("accept", "inconclusive", "reject")
FROM_QUALITY = (
    *(
        "variant",
        "target",
        "stage",
        "method",
        "source",
        "precision",
        "computes",
        "samples",
        "quality",
        "drop",
        "detectable_drop",
        "flips",
        "upper_bounds",
    ),
    *("size_bytes", "size_ratio", "parameters", "nonzero", "macs"),
)
FROM_TIMING = (
    *("latency_ms", "cold_latency_ms", "speed_ratio", "speed_ratio_same_runtime", "cold_speed_ratio", "noise_floor"),
    *("peak_memory_bytes", "energy_mj", "energy_reason"),
)

OF_LANGUAGE = ("prefill", "decode")
"""Of language models alone."""
NOTHING_BESIDE: Mapping[str, Sequence[Mapping[str, Any]]] = {"cache": (), "harness": ()}
"""What stages beside the verdict found, where none was run."""


@dataclass(frozen=True)
class Evaluation:
    """What the stages evaluate and time wrote of one variant on one target, and the gate's verdict on it."""

    quality: Mapping[str, Any]
    timing: Mapping[str, Any]
    verdict: str
    reasons: tuple[str, ...]
    familywise: bool | None = None
    """Whether the drop keeps within the margin among all that are judged together."""

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
    source: str | None
    missed: str
    reason: str

    @property
    def row(self) -> dict[str, Any]:
        """As it stands in summary.json: rejected, `missed` names the stage, every figure is null."""
        figures: dict[str, Any] = dict.fromkeys((*FROM_QUALITY, *FROM_TIMING, "measured_on", "familywise")) | {"quality": {}}
        known = {key: value for key, value in vars(self).items() if key != "reason"}
        return figures | known | {"verdict": "reject", "reasons": [self.reason], "artifact": None, "release": None}


@dataclass(frozen=True)
class Missing:
    """What a run could not judge: a variant on a target (None where it is not deployed); which stage failed, and why."""

    variant: str
    target: str | None
    stage: str
    reason: str


def read_rejected(metrics: Path, variant: str, target: str) -> Rejected | None:
    """Why a variant has no figures: evaluate says that it was not made, or its times that it could not be timed; else None."""
    facts = _facts(metrics / "evaluate" / f"{variant}-{target}.json")
    if "missed" in facts:
        return Rejected(variant, target, **{key: facts[key] for key in ("stage", "method", "source", "missed", "reason")})
    if reason := _facts(metrics / "time" / f"{target}.json").get("failures", {}).get(variant):
        return Rejected(variant, target, **{key: facts[key] for key in ("stage", "method", "source")}, missed="time", reason=reason)
    return None


def _facts(path: Path) -> dict[str, Any]:
    """A metrics file, empty where there is none."""
    return dict(read_json(path)) if path.is_file() else {}


def read_measured(metrics: Path, variant: str, target: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was measured of a variant on a target, quality and times; `metrics` is the folder reports/metrics.

    Raises:
        ArtifactError: a file is missing or damaged.
        StageError: it is of another schema, lacks a figure, or the times are of other bytes than the quality.
    """
    path, clock = metrics / "evaluate" / f"{variant}-{target}.json", metrics / "time" / f"{target}.json"
    quality = _of_schema(path, f"evaluate@{variant}-{target}", (*FROM_QUALITY, "baseline", "artifact_sha256"))
    timing = _of_schema(clock, f"time@{target}", ("machine", "threads", "baseline", "variants", "failures"))
    if variant not in timing["variants"]:
        reason = timing["failures"].get(variant, "it was not compiled when this target was timed")
        raise StageError(f"{clock}: has no times of {variant}: {reason}; run `dvc repro -f time@{target}`")
    found = read_timing(timing, variant)
    if lacking := [name for name in (*FROM_TIMING, "artifact_sha256") if name not in found]:
        raise StageError(f"{clock}: {variant} lacks {', '.join(lacking)}; run `dvc repro -f time@{target}`")
    if found["artifact_sha256"] != quality["artifact_sha256"]:
        raise StageError(f"{clock}: {variant} was timed before it was compiled anew; run `dvc repro time@{target}`")
    return quality, found


def read_timing(timing: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """One variant's figures and what they were measured beside, from the file of its target."""
    shared = {name: value for name, value in timing.items() if name not in ("variants", "failures")}
    return {**shared, **timing["variants"][variant]}


def _of_schema(path: Path, stage: str, needed: Sequence[str]) -> dict[str, Any]:
    data: dict[str, Any] = read_json(path)
    lacking = [name for name in needed if name not in data]
    if data.get("schema") != SCHEMA or lacking:
        why = f"lacks {', '.join(lacking)}" if lacking else f"has schema {data.get('schema')!r}, expected {SCHEMA}"
        raise StageError(f"{path}: {why}; run `dvc repro -f {stage}`")
    return data


def summarise(
    workload: str,
    run: Mapping[str, Any],
    judged: Sequence[Evaluation | Rejected],
    missing: Sequence[Missing] = (),
    beside: Mapping[str, Sequence[Mapping[str, Any]]] = NOTHING_BESIDE,
) -> dict[str, Any]:
    """The whole summary; the rows keep the order of params.yaml, `missing` names what a failed stage has kept from being judged.

    A row names the machine that timed it by its id in `machines`; `cache` and `harness` hold what those stages found of language models.
    """
    return {
        "schema": SCHEMA,
        "workload": workload,
        "run": dict(run),
        "machines": {machine_id(machine): machine for machine in map(machine_of, evaluations_of(judged))},
        "baseline": _baseline(evaluations_of(judged)),
        "variants": [one.row if isinstance(one, Rejected) else _row(one) for one in judged],
        "missing": [asdict(one) for one in missing],
        **{section: [dict(one) for one in found] for section, found in beside.items()},
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
    """The machine that most timings come from, with its threads, and the keys of those that come from another one."""
    machines = [machine_of(evaluation) for evaluation in evaluations]
    most = max(machines, key=machines.count)
    return most, tuple(evaluation.key for evaluation, found in zip(evaluations, machines, strict=True) if found != most)


def machine_of(evaluation: Evaluation) -> dict[str, Any]:
    """The fingerprint of the machine that timed it, and the threads that each runtime got."""
    return {**evaluation.timing["machine"], "threads": evaluation.timing["threads"]}


def _row(evaluation: Evaluation) -> dict[str, Any]:
    row = {name: evaluation.quality[name] for name in FROM_QUALITY} | {name: evaluation.timing[name] for name in FROM_TIMING}
    row |= {name: evaluation.timing[name] for name in OF_LANGUAGE if name in evaluation.timing}
    artifact = evaluation.quality["artifact_sha256"][:RELEASE_DIGITS]
    known = {
        "measured_on": machine_id(machine_of(evaluation)),
        "verdict": evaluation.verdict,
        "reasons": list(evaluation.reasons),
        "familywise": evaluation.familywise,
    }
    return row | known | {"artifact": artifact, "release": artifact if evaluation.verdict == "accept" else None, "missed": None}


def _baseline(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The teacher in eager PyTorch: quality as measured once, times as the median over the targets that timed it."""
    timings = list({evaluation.quality["target"]: evaluation.timing["baseline"] for evaluation in evaluations}.values())
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
