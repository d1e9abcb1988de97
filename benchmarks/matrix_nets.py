"""The nets and methods of benchmarks/matrix.py: what each net is, on which data, and how each method is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matrix_folders


@dataclass(frozen=True)
class Net:
    """A kind of net: its workload, what it is in words, the gate's metric, and what its run needs beside the defaults.

    `prepare` makes the folders that a door reads.
    """

    name: str
    text: str
    workload: str
    files: tuple[str, ...] = ()
    metric: str = "accuracy"
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None


TAUGHT = ("soft-targets", "dkd", "hints", "attention-transfer", "relational", "hidden-states", "mutual", "self", "assistant", "scratch")
"""Variants with a student, whose config is the net's own."""


def _directory(name: str, text: str, prepare: Callable[[Path], None], student: dict[str, Any]) -> Net:
    model, methods = {"architecture": "hf:net", "path": "net"}, {method: {"student": student} for method in TAUGHT}
    return Net(name, text, "images", data={"path": "photos"}, model=model, methods=methods, prepare=prepare)


def _own(name: str, text: str, file: str, kind: str, **settings: Any) -> Net:
    return Net(name, text, f"workloads/{file}.py:{kind}", (f"{file}.py",), **settings)


NETS = {
    net.name: net
    for net in (
        _own("image-and-table", "a picture beside numbers and a category (digits of scikit-learn)", "image_and_table", "ImageAndTable"),
        _own(
            "tokens-and-mask",
            "token ids and a mask of any length, a transformer (docstrings of the standard library, 4 classes)",
            "tokens_and_mask",
            "TokensAndMask",
        ),
        _own("signal", "a 1-D signal, convolutions (26 weeks of CO2 of statsmodels, the season)", "carbon_dioxide", "Signal"),
        _own("volume", "a 3-D volume, Conv3d (digits of scikit-learn that move, 4 directions)", "volume", "Volume"),
        _own("unet", "segmentation, a U-Net (ink below noise, digits of scikit-learn)", "segmentation", "Segmentation", metric="mean_iou"),
        _own(
            "key-points",
            "key points with an objective of its own; depthwise, squeeze-excitation (digits of scikit-learn)",
            "key_points",
            "KeyPointsOfDigits",
            metric="distance",
        ),
        _own(
            "detector",
            "a detector with an objective of its own: boxes (drawn, digits of scikit-learn)",
            "detector",
            "Detector",
            metric="f1_at_50",
        ),
        _own("two-heads", "two heads and a dict of outputs, an objective of its own (digits of scikit-learn)", "two_heads", "TwoHeads"),
        _own(
            "series",
            "a time series, a GRU, regression (26 weeks of CO2 of statsmodels, the next week)",
            "carbon_dioxide",
            "Series",
            metric="mean_absolute_error",
            methods={"hard-concrete": {"penalty": 1.0}},
        ),
        _directory(
            "vit", "a ViT from a Hugging Face directory (digits of scikit-learn as PNG files)", matrix_folders.vit, {"num_hidden_layers": 2}
        ),
        _directory(
            "resnet",
            "a ResNet from a Hugging Face directory (digits of scikit-learn as PNG files)",
            matrix_folders.resnet,
            {"embedding_size": 8, "hidden_sizes": [8, 16, 32]},
        ),
    )
}

_RECOVER: dict[str, Any] = {"recover": {"epochs": 3, "batch_size": 64}}
_TRAINED: dict[str, Any] = {"training": {"epochs": 5, "batch_size": 64, "learning_rate": 0.001, "weight_decay": 0.0}}
_SOURCE = {"source": "teacher"}
_SILENCED = {**_SOURCE, "round_to": 4, **_TRAINED, **_RECOVER}
_STUDENT = {"source": "teacher", "student": {}, "epochs": 10, "batch_size": 64, "learning_rate": 0.003}

METHODS: dict[str, dict[str, dict[str, Any]]] = {
    "prune": {
        "magnitude": {**_SOURCE, "method": "magnitude", "fraction": 0.6, **_RECOVER},
        "taylor": {**_SOURCE, "method": "taylor", "fraction": 0.6, **_RECOVER},
        "movement": {**_SOURCE, "method": "movement", "fraction": 0.6, **_TRAINED},
        "semi-structured": {**_SOURCE, "method": "semi_structured", "n": 2, "m": 4, **_RECOVER},
        "wanda": {**_SOURCE, "method": "wanda", "fraction": 0.6, **_RECOVER},
        "sparsegpt": {**_SOURCE, "method": "sparsegpt", "fraction": 0.6, **_RECOVER},
        "channels": {**_SOURCE, "method": "channels", "ratio": 0.3, "round_to": 4, **_RECOVER},
        "heads": {**_SOURCE, "method": "heads", "fraction": 0.5, **_RECOVER},
        "depth": {**_SOURCE, "method": "depth", "blocks": 1, **_RECOVER},
        "lottery-ticket": {**_SOURCE, "method": "lottery_ticket", "rounds": 2, "fraction": 0.3, "training": {"epochs": 5}},
        "l1-regularised": {**_SOURCE, "method": "l1_regularised", **_TRAINED, **_RECOVER},
        "network-slimming": {**_SILENCED, "method": "network_slimming"},
        "group-lasso": {**_SILENCED, "method": "group_lasso"},
        "hard-concrete": {**_SILENCED, "method": "hard_concrete", "penalty": 4.0, "gate_learning_rate": 0.5},
    },
    "quantize": {
        "static": {**_SOURCE, "method": "static"},
        "adaround": {**_SOURCE, "method": "adaround"},
        "qat": {**_SOURCE, "method": "qat", "epochs": 3},
        "mixed": {**_SOURCE, "method": "mixed", "budget": {"size_ratio": 2.0}},
        "dynamic": {**_SOURCE, "method": "dynamic"},
        "half": {**_SOURCE, "method": "half", "dtype": "bfloat16"},
        "weight-only": {**_SOURCE, "method": "weight_only", "bits": 8, "granularity": "per-channel"},
        "hqq": {**_SOURCE, "method": "hqq", "bits": 8},
        "gptq": {**_SOURCE, "method": "gptq", "bits": 4},
        "awq": {**_SOURCE, "method": "awq", "bits": 4},
        "smoothquant": {**_SOURCE, "method": "smoothquant"},
    },
    "factorize": {
        "svd": {**_SOURCE, "method": "svd", "energy": 0.8, **_RECOVER},
        "spatial-svd": {**_SOURCE, "method": "spatial_svd", "energy": 0.8, **_RECOVER},
        "tucker": {**_SOURCE, "method": "tucker", "energy": 0.8, **_RECOVER},
        "cp": {**_SOURCE, "method": "cp", "rank": 8, **_RECOVER},
        "factorized-training": {**_SOURCE, "method": "factorized_training", "parameter_ratio": 0.5, "min_channels": 16, "epochs": 10},
    },
    "distill": {
        "soft-targets": {**_STUDENT, "method": "soft_targets"},
        "dkd": {**_STUDENT, "method": "dkd"},
        "hints": {**_STUDENT, "method": "hints"},
        "attention-transfer": {**_STUDENT, "method": "attention_transfer"},
        "relational": {**_STUDENT, "method": "relational"},
        "hidden-states": {**_STUDENT, "method": "hidden_states"},
        "mutual": {**_STUDENT, "method": "mutual"},
        "self": {**_STUDENT, "method": "self"},
        "assistant": {**_STUDENT, "method": "assistant"},
        "scratch": {**_STUDENT, "method": "scratch", "control_of": "soft-targets"},
    },
}
