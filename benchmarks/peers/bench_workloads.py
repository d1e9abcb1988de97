"""The workloads of `make bench`: what each is, how its data is made, and which of our variants are held against the peers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_data import emoji, fair, minilm, smollm2

Entries = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Section of params.yaml -> name -> entry."""

STATIC = {"source": "teacher", "method": "static"}
DYNAMIC = {"source": "teacher", "method": "dynamic"}


@dataclass(frozen=True)
class Setting:
    """One workload: `params` beside what all share; `ours` the variants of a target, by target; `peers` the tools that are tried.

    `prepare` makes the data in the project's folder. Where nothing is trained, one seed says all.
    """

    text: str
    params: Mapping[str, Any]
    entries: Entries
    ours: Mapping[str, tuple[str, ...]]
    peers: tuple[str, ...]
    files: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    pairs: int = 40
    metric: str = "accuracy"
    margin: Mapping[str, float] = field(default_factory=lambda: {"max_drop": 0.01})


GRAPH_TOOLS = ("nncf", "nncf-accuracy", "onnxruntime-static", "onnxruntime-dynamic", "olive-static", "olive-dynamic", "aimet")
MODULE_TOOLS = ("torchao-pt2e", "torchao-dynamic", "neural-compressor", "torch-pruning")
ALL_TOOLS = (*GRAPH_TOOLS, *MODULE_TOOLS)


def _image(widths: list[int], **teacher: Any) -> dict[str, Any]:
    split = {"test_fraction": 0.3, "validation_fraction": 0.1, "calibration_samples": 128}
    return {
        "workload": "images",
        "data": {"path": "photos", "image_size": 96, **split},
        "model": {"path": "workloads", "config": {"widths": widths}},
        "teacher": {"source": "train", "batch_size": 64, "threads": 2, **teacher},
    }


def _chain(student: dict[str, Any] | None, recover: dict[str, Any]) -> Entries:
    """Our families: int8 in its kinds, pruned, factorized, distilled, and what follows what."""
    taught = {"source": "teacher", "method": "soft_targets", "student": student, "controls": [], **recover}
    return {
        "prune": {"channels50": {"source": "teacher", "method": "channels", "ratio": 0.5, "round_to": 16, "recover": recover}},
        "quantize": {
            "int8": STATIC,
            "int8-dynamic": DYNAMIC,
            "channels50-int8": {**STATIC, "source": "channels50"},
            **({"small-int8": {**STATIC, "source": "small"}} if student is not None else {}),
        },
        "factorize": {"svd": {"source": "teacher", "method": "svd", "energy": 0.9, "recover": recover}},
        "distill": {"small": taught} if student is not None else {},
    }


def _everywhere(*names: str, inductor: tuple[str, ...] = ("int8",)) -> dict[str, tuple[str, ...]]:
    return {"onnxruntime": names, "openvino": names, **({"inductor": inductor} if inductor else {})}


ENGINES = ("int8", "int8-dynamic", "channels50", "channels50-int8", "svd", "small", "small-int8")
SETTINGS = {
    "digits": Setting(
        "scikit-learn's digits, a CNN",
        {
            "workload": "digits",
            "data": {"path": "workloads", "test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128},
            "teacher": {"source": "train", "epochs": 30, "batch_size": 64, "learning_rate": 0.002, "patience": 10, "threads": 2},
        },
        _chain({"channels": [48, 96, 96]}, {"epochs": 30, "learning_rate": 0.003}),
        _everywhere(*ENGINES),
        ALL_TOOLS,
    ),
    "cnn11m": Setting(
        "digits as 3x32x32 pictures, a CNN of 11 M parameters",
        {
            "workload": "workloads/cnn11m.py:Cnn11m",
            "data": {"path": "workloads", "test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128},
            "teacher": {"source": "train", "epochs": 12, "batch_size": 64, "learning_rate": 0.001, "threads": 2},
        },
        {
            "distill": {
                "small": {
                    **{"source": "teacher", "method": "soft_targets", "student": {"channels": [16, 32, 48, 48, 64]}},
                    **{"epochs": 60, "learning_rate": 0.004, "alpha": 0.1, "controls": [], "threads": 2},
                }
            },
            "prune": {
                "channels": {
                    **{"source": "teacher", "method": "channels", "parameters": 0.12, "round_to": 16},
                    "recover": {"epochs": 8, "learning_rate": 0.001, "threads": 2},
                },
                "small-channels": {
                    **{"source": "small", "method": "channels", "ratio": 0.4, "round_to": 16},
                    "recover": {"epochs": 60, "learning_rate": 0.003, "threads": 2},
                },
            },
            "quantize": {
                "int8": STATIC,
                "channels-int8": {**STATIC, "source": "channels"},
                "small-int8": {**STATIC, "source": "small"},
                "small-channels-int8": {**STATIC, "source": "small-channels"},
            },
        },
        _everywhere("int8", "channels", "channels-int8", "small", "small-int8", "small-channels", "small-channels-int8"),
        ALL_TOOLS,
        files=("cnn11m.py",),
    ),
    "emoji": Setting(
        "3,762 colour pictures of 96x96 in 9 groups, a residual net",
        _image([16, 32, 64, 128], epochs=12, learning_rate=0.002),
        _chain(None, {"epochs": 6, "learning_rate": 0.001}),
        _everywhere("int8", "int8-dynamic", "channels50", "channels50-int8", "svd"),
        ALL_TOOLS,
        prepare=emoji,
    ),
    "series": Setting(
        "26 weeks of CO2 (statsmodels), a GRU, the next week",
        {
            "workload": "workloads/carbon_dioxide.py:Series",
            "data": {"path": "workloads", "test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128},
            "teacher": {"source": "train", "epochs": 40, "batch_size": 64, "learning_rate": 0.003, "threads": 1},
        },
        {"quantize": {"int8": STATIC, "int8-dynamic": DYNAMIC}},
        _everywhere("int8", "int8-dynamic", inductor=()),
        GRAPH_TOOLS,
        files=("carbon_dioxide.py",),
        metric="mean_absolute_error",
        margin={"max_relative_drop": 0.05},
    ),
    "table": Setting(
        "6,366 rows with categories (statsmodels' fair), regression of years married",
        {
            "workload": "table",
            "data": {
                **{"path": "fair.csv", "target": "yrs_married", "task": "regression"},
                **{"test_fraction": 0.3, "validation_fraction": 0.1, "calibration_samples": 256},
            },
            "teacher": {"source": "train", "epochs": 40, "batch_size": 64, "learning_rate": 0.002, "threads": 1},
        },
        _chain(None, {"epochs": 10, "learning_rate": 0.001}),
        _everywhere("int8", "int8-dynamic", "channels50", "channels50-int8", "svd", inductor=()),
        ALL_TOOLS,
        prepare=fair,
        metric="mean_absolute_error",
        margin={"max_relative_drop": 0.05},
    ),
    "encoder": Setting(
        "all-MiniLM-L6-v2 on docstrings, embeddings",
        {
            "workload": "text",
            "data": {"path": "texts.csv", "text": "text", "test_fraction": 0.3, "validation_fraction": 0.1, "calibration_samples": 128},
            "model": {"architecture": "hf:net", "path": "net"},
            "teacher": {"source": "train", "epochs": 0},
            "calibrate": {"samples": 128, "batch_size": 32, "sensitivity_samples": 0},
        },
        {"quantize": {"int8": STATIC, "int8-dynamic": DYNAMIC}},
        _everywhere("int8", "int8-dynamic", inductor=()),
        ("nncf", "onnxruntime-static", "onnxruntime-dynamic", "olive-dynamic"),
        prepare=minilm,
        seeds=(0,),
        metric="cosine",
        margin={"max_drop": 0.01},
    ),
    "language": Setting(
        "SmolLM2-135M on docstrings, the next token; batch 1 and 8: a token of decode after 256",
        {
            "workload": "causal-lm",
            "data": {
                **{"path": "texts.csv", "text": "text", "window": 256},
                **{"test_fraction": 0.03, "validation_fraction": 0.02, "calibration_samples": 64},
            },
            "model": {"architecture": "hf:net", "path": "net"},
            "teacher": {"source": "train", "epochs": 0},
            "calibrate": {"samples": 64, "batch_size": 2, "sensitivity_samples": 0},
        },
        {
            "quantize": {
                "int8": DYNAMIC,
                "int8-weights": {"source": "teacher", "method": "weight_only", "bits": 8, "granularity": "per-channel"},
                "int4": {"source": "teacher", "method": "gptq", "bits": 4, "group_size": 64},
            }
        },
        {"openvino": ("int8", "int8-weights", "int4"), "onnxruntime": ("int8", "int4")},
        ("nncf-weights8", "nncf-weights4", "onnxruntime-weights4"),
        prepare=smollm2,
        seeds=(0,),
        metric="bits_per_byte",
        margin={"max_relative_drop": 0.03},
    ),
}


def params_of(setting: Setting, seed: int) -> dict[str, Any]:
    """The whole params.yaml; what is deployed is written out target by target."""
    sections = {section: dict(setting.entries.get(section, {})) for section in ("prune", "quantize", "factorize", "distill")}
    return json.loads(  # plain copies: no YAML aliases
        json.dumps(
            {
                "calibrate": {"samples": setting.params["data"]["calibration_samples"], "batch_size": 32},
                **setting.params,
                "seed": seed,
                **sections,
                "deploy": {
                    "variants": ["teacher", *sorted({name for names in setting.ours.values() for name in names})],
                    "targets": [*setting.ours],
                },
                "evaluate": {"batch_size": 32, "pairs": setting.pairs, "threads": 1, "resamples": 2000},
                "gate": {"metric": setting.metric, **setting.margin, "min_size_ratio": 1.1, "min_speed_ratio": 1.0},
            }
        )
    )
