"""The workloads that benchmarks/schemes.py measures on, and how long their models are trained."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A workload: where its class is, what its run needs that the defaults do not give, and how long its models are trained.

    `recover` is the training after a lossy step, `trained` that within a method, `ticket` that of each round of a lottery ticket;
    `left` is the share of the parameters that low-rank schemes leave; `cp_rank` is the rank of cp where a search takes too long.
    """

    workload: str
    file: str | None = None
    data: dict[str, Any] = field(default_factory=lambda: {"test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128})
    teacher: dict[str, Any] = field(default_factory=dict)
    recover: dict[str, Any] = field(default_factory=lambda: {"epochs": 8})
    trained: dict[str, Any] = field(default_factory=lambda: {"epochs": 20, "learning_rate": 0.001, "weight_decay": 0.0})
    ticket: dict[str, Any] = field(default_factory=lambda: {"epochs": 12})
    left: float = 0.25
    cp_rank: int | None = None


WORKLOADS = {
    "digits": Setting("digits", teacher={"epochs": 30, "learning_rate": 0.002}),
    "tabular": Setting(
        "tabular",
        data={"test_fraction": 0.5, "validation_fraction": 0.1, "calibration_samples": 60},
        teacher={"epochs": 40, "batch_size": 32, "learning_rate": 0.002},
        recover={"epochs": 15, "batch_size": 32},
        trained={"epochs": 40, "batch_size": 32, "learning_rate": 0.001, "weight_decay": 0.0},
        ticket={"epochs": 20, "batch_size": 32},
    ),
    "cnn11m": Setting(
        "workloads/cnn11m.py:Cnn11m",
        "cnn11m.py",
        teacher={"epochs": 12, "learning_rate": 0.001},
        recover={"epochs": 8, "learning_rate": 0.001, "threads": 2},
        trained={"epochs": 10, "learning_rate": 0.001, "weight_decay": 0.0, "threads": 2},
        ticket={"epochs": 3, "learning_rate": 0.001, "threads": 2},
        left=0.1,
        cp_rank=128,
    ),
    "depthwise": Setting("workloads/depthwise.py:Depthwise", "depthwise.py", teacher={"epochs": 24, "learning_rate": 0.003}),
    "sequence": Setting("workloads/sequence.py:Sequence", "sequence.py", teacher={"epochs": 60, "learning_rate": 0.003}),
    "transformer": Setting("workloads/transformer.py:Transformer", "transformer.py", teacher={"epochs": 60, "learning_rate": 0.001}),
}
