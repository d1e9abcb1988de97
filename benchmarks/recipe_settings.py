"""What benchmarks/recipe_search.py looks through: the methods of each workload and the chain by hand."""

from typing import Any

RECOVER = {"epochs": 20, "learning_rate": 0.003}
DIGITS_METHODS: dict[str, Any] = {
    "small": {
        "stage": "distill",
        "method": "soft_targets",
        "epochs": 50,
        "learning_rate": 0.005,
        "controls": [],
        "strengths": {"student": [{"channels": [16, 32, 32]}, {"channels": [32, 64, 64]}, {"channels": [48, 96, 96]}]},
    },
    "channels": {
        "stage": "prune",
        "method": "channels",
        "round_to": 8,
        "recover": {"epochs": 50, "learning_rate": 0.003},
        "strengths": {"ratio": [0.25, 0.5, 0.75]},
    },
    "svd": {"stage": "factorize", "method": "svd", "recover": RECOVER, "strengths": {"energy": [0.97, 0.9, 0.8]}},
    "int8": {"stage": "quantize", "method": "static"},
}
CNN_TAUGHT = {"method": "soft_targets", "epochs": 60, "learning_rate": 0.004, "alpha": 0.1, "controls": []}
CNN_RECOVER = {"epochs": 20, "learning_rate": 0.003}
CNN_METHODS: dict[str, Any] = {
    "small": {
        "stage": "distill",
        **CNN_TAUGHT | {"epochs": 40},
        "strengths": {"student": [{"channels": [width, 2 * width, 3 * width, 3 * width, 4 * width]} for width in (8, 16, 32)]},
    },
    "channels": DIGITS_METHODS["channels"] | {"recover": CNN_RECOVER},
    "svd": DIGITS_METHODS["svd"],
    "int8": DIGITS_METHODS["int8"],
}
NO_VARIANTS: dict[str, Any] = {"prune": {}, "quantize": {}, "factorize": {}, "distill": {}}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"search": {"methods": DIGITS_METHODS, "longest": 4, "beside": ["small-int8"], "frontier": 3}},
    "cnn11m": {
        "workload": "benchmarks/workloads/cnn11m.py:Cnn11m",
        "data": {"path": "benchmarks/workloads", "test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128},
        "model": {"path": "benchmarks/workloads"},
        "teacher": {"source": "train", "epochs": 12, "batch_size": 64, "learning_rate": 0.001, "patience": 5, "threads": 2},
        **NO_VARIANTS,
        "distill": {"hand": {"source": "teacher", "student": {"channels": [16, 32, 48, 48, 64]}, **CNN_TAUGHT}},
        "prune": {
            "hand-channels": {
                **{"source": "hand", "method": "channels", "ratio": 0.4, "round_to": 16},
                "recover": {"epochs": 60, "learning_rate": 0.003},
            }
        },
        "quantize": {"hand-channels-int8": {"source": "hand-channels", "method": "static"}},
        "teach": {"teacher": {}},
        "deploy": {"variants": ["teacher", "hand-channels-int8"], "targets": ["onnxruntime", "openvino"]},
        "search": {"methods": CNN_METHODS, "longest": 3, "beside": ["hand-channels-int8"], "frontier": 3},
    },
}
"""The chains by hand: `small-int8` of params.yaml, and of the CNN the best of `make bench`, `small-channels-int8`."""
