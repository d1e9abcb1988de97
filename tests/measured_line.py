"""A finished line on the real digits without running it: predictions flipped at random at set rates, and the figures computed from them.

What evaluate would have written for eleven variants on two targets, in evaluate's own schema; used by the report's tests.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slimline.artifact.folder import write_json
from slimline.data.prepared import load_table
from slimline.data.table import write_numbered, write_table
from slimline.measure.bootstrap import percentile_interval
from slimline.params import Params
from slimline.verdict.difference import Resampling, share_drop
from slimline.verdict.family import upper_bounds
from slimline.workloads import get_workload
from tasks.evaluate import described

DIGITS = get_workload("digits")
CLASSES = 10
ISA = ["avx2", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16"]
MACHINE = {
    "schema": 1,
    "cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
    "isa": ISA,
    "cores": 2,
    "memory_gib": 8,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "onnxruntime": "1.31.1", "openvino": "2026.4.1", "numpy": "2.4.6"},
}
NO_ENERGY = {"energy_mj": None, "energy_reason": "this machine shows no energy counter"}
TEACHER_BYTES, TEACHER_PARAMETERS, TEACHER_MACS, TEACHER_MS = 5_996_140, 1_495_000, 12_400_000, 1.93


@dataclasses.dataclass(frozen=True)
class Made:
    """How one variant came out: samples lost and gained, bytes, weights, and times faster than eager and than the target's float32."""

    lost: int
    gained: int
    size_bytes: int
    parameters: int
    macs: int
    eager_ratio: float
    same_ratio: float
    zeros: float = 0.0
    precision: str = "float32"


MADE = {
    "teacher": Made(0, 0, 5_991_000, 1_495_000, 12_400_000, 2.6, 1.0),
    "channels50": Made(3, 2, 1_540_000, 380_000, 3_300_000, 5.9, 2.3),
    "magnitude80": Made(2, 2, 5_991_000, 1_495_000, 12_400_000, 2.6, 1.0, zeros=0.8),
    "int8": Made(1, 1, 1_560_000, 1_495_000, 12_400_000, 4.8, 1.9, precision="int8"),
    "int8-dynamic": Made(1, 0, 2_410_000, 1_495_000, 12_400_000, 2.4, 0.93, precision="int8"),
    "half": Made(0, 0, 3_010_000, 1_495_000, 12_400_000, 2.5, 0.97, precision="bfloat16"),
    "svd": Made(9, 2, 1_930_000, 470_000, 8_100_000, 3.3, 1.27),
    "small": Made(3, 3, 242_000, 59_000, 900_000, 16.5, 6.3),
    "small-scratch": Made(12, 2, 242_000, 59_000, 900_000, 16.4, 6.3),
    "small-channels": Made(4, 2, 88_000, 20_500, 310_000, 20.8, 8.0),
    "small-int8": Made(4, 2, 46_000, 20_500, 310_000, 24.1, 9.2, precision="int8"),
}


def write_line(root: Path, params_text: str) -> Params:
    """Write params.yaml, data/prepared/test.arrow, data/evaluated and reports/metrics below a folder."""
    (root / "params.yaml").write_text(params_text, encoding="utf-8")
    params = Params.load(root / "params.yaml")
    sizes = params.data.model_dump()
    test = DIGITS.splits(sizes, params.seed)["test"]
    (root / "data/prepared").mkdir(parents=True)
    write_table(root / "data/prepared/test.arrow", test)
    for variant in params.deploy.variants:
        for target in params.deploy.targets:
            predicted = predictions(test, MADE[variant], seed=sum(map(ord, variant)))
            write_evaluated(root, params, (variant, target), predicted)
    for number, target in enumerate(params.deploy.targets):
        write_json(root / "reports/metrics/time" / f"{target}.json", timing_of(params, target, speed=1.0 - 0.12 * number))
    return params


def predictions(test: pd.DataFrame, made: Made, seed: int) -> pd.DataFrame:
    """The teacher is wrong on every 60th sample; the variant loses and gains as many as it should, among the same hard third."""
    labels = test["label"].to_numpy(np.int64)
    baseline, draw = labels.copy(), np.random.default_rng(seed)
    wrong = np.arange(0, len(labels), 60)
    baseline[wrong] = (labels[wrong] + 5) % CLASSES
    variant, right = baseline.copy(), np.flatnonzero(baseline == labels)
    lost, gained = draw.choice(right[:60], made.lost, replace=False), draw.choice(wrong, made.gained, replace=False)
    variant[lost] = (labels[lost] + draw.integers(1, CLASSES, len(lost))) % CLASSES
    variant[gained] = labels[gained]
    sure = np.where(baseline == labels, 0.93, 0.55) + draw.random(len(labels)).round(3) * 0.06
    answers = {"target": labels, "baseline": baseline, "variant": variant}
    errors = {f"{who}_error": (answers[who] != labels).astype(np.int64) for who in ("baseline", "variant")}
    confidences = {"baseline_confidence": sure, "variant_confidence": sure - 0.04}
    return pd.DataFrame({"index": np.arange(len(labels)), **answers, **errors, **confidences})


def write_evaluated(root: Path, params: Params, key: tuple[str, str], predicted: pd.DataFrame) -> None:
    """The predictions, the samples that flipped and the metrics file of one variant on one target."""
    variant, target = key
    folder = root / "data/evaluated" / f"{variant}-{target}"
    folder.mkdir(parents=True)
    predicted.to_parquet(folder / "predictions.parquet")
    flipped = np.flatnonzero(predicted["baseline_error"] != predicted["variant_error"]).tolist()
    write_numbered(folder / "changed.arrow", load_table("test", root / "data/prepared"), flipped)
    metrics = root / "reports/metrics/evaluate" / f"{variant}-{target}"
    write_json(metrics.with_suffix(".json"), quality_of(params, variant, target, predicted))


def bounds_of(before: pd.Series, right: pd.Series, confidence: float) -> dict[str, Any]:
    """The upper bounds of the drop that evaluate writes for verdicts together."""
    scores = [{"correct": one.to_numpy().astype(np.int64), "error": (~one).to_numpy().astype(np.int64)} for one in (before, right)]
    return upper_bounds(DIGITS.objective, "accuracy", *scores, Resampling(200, confidence, 0))


def quality_of(params: Params, variant: str, target: str, predicted: pd.DataFrame) -> dict[str, Any]:
    """evaluate's deterministic file."""
    made, right, before = MADE[variant], predicted["variant_error"] == 0, predicted["baseline_error"] == 0
    lost, gained = int((before & ~right).sum()), int((right & ~before).sum())
    drop = share_drop("accuracy", lost, gained, len(predicted), params.gate.confidence, float(before.mean()))
    teacher = {"quality": figures(before), "groups": groups(predicted["target"], before), "size_bytes": TEACHER_BYTES}
    stage, config = params.variants.get(variant, ("teacher", None))
    return {
        "schema": 1,
        "variant": variant,
        "target": target,
        "stage": stage,
        "method": config.method if config else "train",
        "source": config.source if config else None,
        "precision": made.precision,
        "computes": made.precision,
        "samples": len(predicted),
        "confidence": params.gate.confidence,
        "quality": figures(right),
        "baseline": {**teacher, **counted(TEACHER_PARAMETERS, 0.0, TEACHER_MACS)},
        "drop": json.loads(json.dumps(drop.as_json())) | {"unit": "fraction", "better": "higher"},
        "detectable_drop": drop.detectable,
        "upper_bounds": bounds_of(before, right, params.gate.confidence),
        "flips": {"lost": lost, "gained": gained},
        "groups": groups(predicted["target"], right),
        "size_bytes": made.size_bytes,
        "size_ratio": TEACHER_BYTES / made.size_bytes,
        **counted(made.parameters, made.zeros, made.macs),
        "artifact_sha256": artifact_sha256(variant, target),
    }


def artifact_sha256(variant: str, target: str) -> str:
    """A checksum that stands for the compiled variant's."""
    return f"{sum(map(ord, variant + target)):064x}"


def counted(parameters: int, zeros: float, macs: int) -> dict[str, int]:
    """What a model is made of."""
    return {"parameters": parameters, "nonzero": round(parameters * (1 - zeros)), "macs": macs}


def figures(right: pd.Series) -> dict[str, Any]:
    """Every metric with its bootstrap interval; the macro averages follow accuracy closely on balanced digits, the nats its errors."""
    draws = np.random.default_rng(0).binomial(len(right), right.mean(), 2000) / len(right)
    shares = {
        name: {"value": float(right.mean()) - shift, "ci": list(percentile_interval(draws - shift, 0.95))}
        for name, shift in (("accuracy", 0.0), ("precision", 0.0004), ("recall", 0.0006), ("f1", 0.0005))
    }
    nats = {"value": 0.05 + 1.4 * float(1 - right.mean()), "ci": list(percentile_interval(0.05 + 1.4 * (1 - draws), 0.95))}
    return described(DIGITS.objective, {**shares, "log_loss": nats})


def groups(targets: pd.Series, right: pd.Series) -> dict[str, dict[str, float]]:
    """The recall of each digit."""
    return DIGITS.objective.groups({"target": targets.to_numpy(), "correct": right.to_numpy(np.int64)})


def timing_of(params: Params, target: str, speed: float) -> dict[str, Any]:
    """The file that the stage time writes of one target."""
    base = {name: TEACHER_MS * cost for name, (cost, _) in batches_of(params).items()}
    rest = {"peak_memory_bytes": 264_000_000, **NO_ENERGY}
    same = {name: value / 2.6 for name, value in base.items()}
    return {
        "schema": 1,
        "target": target,
        "machine": MACHINE,
        "threads": 1,
        "launches": 6,
        "pairs": params.evaluate.pairs,
        "confidence": params.gate.confidence,
        "seconds": 40.2,
        "lengths": {},
        "baseline": {**latencies(base), **rest},
        "same_runtime_baseline": {**latencies(same), **rest, "peak_memory_bytes": 90_000_000, "precision": "float32"},
        "variants": {variant: timed(params, variant, target, speed) for variant in params.deploy.variants},
        "failures": {},
    }


def timed(params: Params, variant: str, target: str, speed: float) -> dict[str, Any]:
    """One variant's part of it; larger batches gain a little less."""
    made, batches = MADE[variant], batches_of(params)
    eager = {name: made.eager_ratio * speed * gain for name, (_, gain) in batches.items()}
    same = {name: 1 + (made.same_ratio - 1) * gain for name, (_, gain) in batches.items()}
    return {
        **latencies({name: TEACHER_MS * batches[name][0] / eager[name] for name in batches}),
        "speed_ratio": {name: ratio(value) for name, value in eager.items()},
        "speed_ratio_same_runtime": {name: ratio(value) for name, value in same.items()},
        "cold_speed_ratio": {name: ratio(0.7 * value) for name, value in eager.items()},
        "noise_floor": {name: {"value": 0.031, "ratio": 1.004, "ci": [0.975, 1.031]} for name in batches},
        "peak_memory_bytes": 62_000_000 + 3 * made.size_bytes,
        **NO_ENERGY,
        "unsteady": dict.fromkeys(batches, 0),
        "artifact_sha256": artifact_sha256(variant, target),
    }


def batches_of(params: Params) -> dict[str, tuple[float, float]]:
    """Batch name -> how many times longer a call takes than one of a single sample, and which share of the speed-up it keeps."""
    return {"batch_1": (1, 1.0), f"batch_{params.evaluate.batch_size}": (params.evaluate.batch_size * 0.6, 0.85)}


def latencies(p50_ms: dict[str, float]) -> dict[str, Any]:
    """Warm and cold latencies of each batch, and how many calls gave them."""
    return {
        "latency_ms": {name: percentiles(value) for name, value in p50_ms.items()},
        "cold_latency_ms": {name: {"p50": 2.4 * value, "max": 3.1 * value} for name, value in p50_ms.items()},
        "calls": dict.fromkeys(p50_ms, 200),
        "runtime": {"execution": {"threads": "1"}, "threads": 1},
    }


def percentiles(p50_ms: float) -> dict[str, float]:
    """A right-skewed spread."""
    return {"p50": p50_ms, "p95": 1.18 * p50_ms, "p99": 1.42 * p50_ms}


def ratio(value: float) -> dict[str, Any]:
    """A ratio on CPU time with its interval, and the wall-clock one beside it."""
    return {"value": value, "ci": [0.985 * value, 1.012 * value], "wall": {"value": 1.03 * value, "ci": [0.93 * value, 1.14 * value]}}
