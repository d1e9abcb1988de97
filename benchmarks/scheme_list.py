"""What benchmarks/schemes.py tries, and the workloads that it tries it on."""

from dataclasses import dataclass, field
from typing import Any

SCHEMES: dict[str, dict[str, Any]] = {
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
"""Every scheme by the name of its variant; one whose method this commit lacks is left out."""


@dataclass(frozen=True)
class Setting:
    """A workload: where its class is, and what its run needs that the defaults do not give."""

    workload: str
    file: str | None = None
    data: dict[str, Any] = field(default_factory=lambda: {"test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128})
    teacher: dict[str, Any] = field(default_factory=dict)


WORKLOADS = {
    "digits": Setting("digits", teacher={"epochs": 30, "learning_rate": 0.002}),
    "tabular": Setting(
        "tabular",
        data={"test_fraction": 0.5, "validation_fraction": 0.1, "calibration_samples": 60},
        teacher={"epochs": 40, "batch_size": 32, "learning_rate": 0.002},
    ),
    "cnn11m": Setting("workloads/cnn11m.py:Cnn11m", "cnn11m.py", teacher={"epochs": 12, "learning_rate": 0.001}),
    "depthwise": Setting("workloads/depthwise.py:Depthwise", "depthwise.py", teacher={"epochs": 24, "learning_rate": 0.003}),
    "sequence": Setting("workloads/sequence.py:Sequence", "sequence.py", teacher={"epochs": 60, "learning_rate": 0.003}),
}
