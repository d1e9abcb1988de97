"""What benchmarks/schemes.py tries, family by family, and the workloads that it tries it on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Scheme = dict[str, Any]
"""An entry of params.yaml; `stage` stands where it is not the family's own, `source` where it does not start from the teacher."""


@dataclass(frozen=True)
class Setting:
    """A workload: where its class is, what its run needs that the defaults do not give, and how long its models are trained."""

    workload: str
    file: str | None = None
    data: dict[str, Any] = field(default_factory=lambda: {"test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128})
    teacher: dict[str, Any] = field(default_factory=dict)
    recover: dict[str, Any] = field(default_factory=lambda: {"epochs": 8})


WORKLOADS = {
    "digits": Setting("digits", teacher={"epochs": 30, "learning_rate": 0.002}),
    "tabular": Setting(
        "tabular",
        data={"test_fraction": 0.5, "validation_fraction": 0.1, "calibration_samples": 60},
        teacher={"epochs": 40, "batch_size": 32, "learning_rate": 0.002},
        recover={"epochs": 15, "batch_size": 32},
    ),
    "cnn11m": Setting(
        "workloads/cnn11m.py:Cnn11m",
        "cnn11m.py",
        teacher={"epochs": 12, "learning_rate": 0.001},
        recover={"epochs": 8, "learning_rate": 0.001, "threads": 2},
    ),
    "depthwise": Setting("workloads/depthwise.py:Depthwise", "depthwise.py", teacher={"epochs": 24, "learning_rate": 0.003}),
    "sequence": Setting("workloads/sequence.py:Sequence", "sequence.py", teacher={"epochs": 60, "learning_rate": 0.003}),
}

QUANTIZATION: dict[str, Scheme] = {
    "static": {"method": "static"},
    "static-average": {"method": "static", "observer": "moving_average"},
    "static-percentile": {"method": "static", "observer": "percentile"},
    "static-mse": {"method": "static", "observer": "mse"},
    "static-entropy": {"method": "static", "observer": "entropy"},
    "static-symmetric": {"method": "static", "activations": "symmetric"},
    "static-per-tensor": {"method": "static", "granularity": "per-tensor"},
    "static-clipped": {"method": "static", "weight_observer": "mse"},
    "equalize": {"method": "static", "equalize": True},
    "bias-correction": {"method": "static", "bias_correction": True},
    "equalize-bias": {"method": "static", "equalize": True, "bias_correction": True},
    "adaround": {"method": "adaround"},
    "qat": {"method": "qat"},
    "equalize-qat": {"method": "qat", "equalize": True},
    "mixed": {"method": "mixed", "budget": {"size_ratio": 3.2}, "max_flips": 0.005},
    "mixed-int4": {"method": "mixed", "precisions": ["int8", "int4"], "budget": {"size_ratio": 6.0}, "max_flips": 0.005},
    "mixed-equalize": {
        "method": "mixed",
        "equalize": True,
        "precisions": ["bfloat16", "int8"],
        "budget": {"size_ratio": 3.2},
        "max_flips": 0.0,
    },
    "dynamic": {"method": "dynamic"},
    "int8-weights": {"method": "weight_only", "bits": 8, "granularity": "per-channel"},
    "int4-weights": {"method": "weight_only", "bits": 4},
    "int8-hqq": {"method": "hqq", "bits": 8},
    "int4-hqq": {"method": "hqq", "bits": 4},
    "fp16": {"method": "half", "dtype": "float16"},
    "bf16": {"method": "half", "dtype": "bfloat16"},
}


def pruning(setting: Setting) -> dict[str, Scheme]:
    """Every way to prune, each with the workload's own recovery training."""
    recover = {"recover": setting.recover}
    return {
        "magnitude80": {"method": "magnitude", "criterion": "l1", "fraction": 0.8, **recover},
        "channels50": {"method": "channels", "ratio": 0.5, "round_to": 16, **recover},
    }


def low_rank(setting: Setting) -> dict[str, Scheme]:
    """Every way to factorize, each with the workload's own recovery training."""
    recover = {"recover": setting.recover}
    return {"svd": {"method": "svd", "energy": 0.9, **recover}}


@dataclass(frozen=True)
class Family:
    """A family of schemes: its title, the section of params.yaml that they stand in, and the ones that stand beside every other."""

    title: str
    stage: str
    schemes: Callable[[Setting], Mapping[str, Scheme]]
    beside: tuple[str, ...] = ()


FAMILIES = {
    "quantization": Family("Quantization schemes", "quantize", lambda _setting: QUANTIZATION, beside=("bf16", "fp16")),
    "pruning": Family("Pruning", "prune", pruning),
    "low-rank": Family("Low rank", "factorize", low_rank),
}
