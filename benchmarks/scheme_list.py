"""What benchmarks/schemes.py tries, family by family."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scheme_workloads import Setting

Scheme = dict[str, Any]
"""An entry of params.yaml; `stage` stands where it is not the family's own, `source` where it does not start from the teacher."""

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
    "int4-gptq": {"method": "gptq", "bits": 4},
    "int4-awq": {"method": "awq", "bits": 4},
    "smoothquant": {"method": "smoothquant"},
    "fp16": {"method": "half", "dtype": "float16"},
    "bf16": {"method": "half", "dtype": "bfloat16"},
}


def single_weights(setting: Setting) -> dict[str, Scheme]:
    """Every way to zero single weights: shapes stay."""
    recover, trained = {"recover": setting.recover}, {"training": setting.trained}
    magnitude = {"method": "magnitude", "fraction": 0.8, **recover}
    sparser = {**magnitude, "fraction": 0.95, "floor": 0.01}
    return {
        "magnitude80": magnitude,
        "magnitude80-local": {**magnitude, "scope": "local"},
        "magnitude80-sensitivity": {**magnitude, "scope": "sensitivity"},
        "magnitude80-lamp": {**magnitude, "criterion": "lamp"},
        "magnitude80-random": {**magnitude, "criterion": "random", "scope": "local"},
        "magnitude95": sparser,
        "magnitude95-agp": {**sparser, "schedule": {"kind": "agp", "rounds": 4, "epochs": 2}},
        "magnitude95-iterative": {
            **magnitude,
            "fraction": 0.95,
            "floor": 0.01,
            "schedule": {"kind": "iterative", "rounds": 4, "epochs": 2},
        },
        "taylor80": {"method": "taylor", "fraction": 0.8, "floor": 0.01, **recover},
        "movement80": {"method": "movement", "fraction": 0.8, "floor": 0.01, **trained},
        "two-of-four": {"method": "semi_structured", "n": 2, "m": 4, **recover},
        "wanda80": {"method": "wanda", "fraction": 0.8, **recover},
        "sparsegpt80": {"method": "sparsegpt", "fraction": 0.8, **recover},
        "l1-regularised": {"method": "l1_regularised", **trained, **recover},
        "lottery-ticket": {"method": "lottery_ticket", "rounds": 10, "fraction": 0.2, "training": setting.ticket},
    }


def shapes(setting: Setting) -> dict[str, Scheme]:
    """Every way to remove channels, heads and blocks, and a chain with int8."""
    recover, trained = {"recover": setting.recover}, {"training": setting.trained}
    channels = {"method": "channels", "ratio": 0.5, "round_to": 16, **recover}
    return {
        "channels50": channels,
        "channels50-random": {**channels, "criterion": "random"},
        "channels50-taylor": {**channels, "criterion": "taylor"},
        "channels50-batchnorm": {**channels, "criterion": "batchnorm_scale"},
        "channels50-global": {**channels, "scope": "global", "floor": 0.1},
        "channels50-lamp": {**channels, "criterion": "lamp", "scope": "global", "floor": 0.1},
        "channels50-sensitivity": {**channels, "scope": "sensitivity", "floor": 0.1},
        "channels-parameters": {"method": "channels", "parameters": 0.12, "round_to": 16, **recover},
        "channels-macs": {"method": "channels", "macs": 0.2, "round_to": 16, **recover},
        "channels-latency": {"method": "channels", "latency": 0.25, "round_to": 16, **recover},
        "channels75-iterative": {**channels, "ratio": 0.75, "schedule": {"kind": "iterative", "rounds": 3, "epochs": 2}},
        "network-slimming": {"method": "network_slimming", "penalty": 8.0, "round_to": 16, **trained, **recover},
        "group-lasso": {"method": "group_lasso", "round_to": 16, **trained, **recover},
        "hard-concrete": {"method": "hard_concrete", "round_to": 16, **trained, **recover},
        "heads50": {"method": "heads", "fraction": 0.5, "mlp_ratio": 0.5, **recover},
        "depth1": {"method": "depth", "blocks": 1, **recover},
        "channels-int8": {"stage": "quantize", "source": "channels-parameters", "method": "static"},
    }


def low_rank(setting: Setting) -> dict[str, Scheme]:
    """Every way to factorize, each with the workload's own recovery training."""
    recover = {"recover": setting.recover}
    updates = {"recover": {**setting.recover, "lora_rank": 8}}
    budget = {"budget": {"parameters": setting.left}}
    return {
        "svd": {"method": "svd", "energy": 0.9, **recover},
        "svd-untrained": {"method": "svd", "energy": 0.9},
        "svd-plain": {"method": "svd", "energy": 0.9, "activation_aware": False},
        "svd-lora": {"method": "svd", "energy": 0.9, **updates},
        "svd-vbmf": {"method": "svd", "vbmf": True, **recover},
        "svd-budget": {"method": "svd", "kernels": "all", **budget, **recover},
        "svd-macs": {"method": "svd", "kernels": "all", "budget": {"macs": 0.35}, **recover},
        "svd-latency": {"method": "svd", "kernels": "all", "budget": {"latency": 0.5}, **recover},
        "spatial-svd": {"method": "spatial_svd", "include_linear": True, **budget, **recover},
        "tucker": {"method": "tucker", "include_linear": True, **budget, **recover},
        "tucker-vbmf": {"method": "tucker", "include_linear": True, "vbmf": True, **recover},
        "cp": {"method": "cp", "include_linear": True, **({"rank": setting.cp_rank} if setting.cp_rank else budget), **recover},
        "factorized-training": {"method": "factorized_training", "parameter_ratio": 0.25, **setting.trained},
        "tucker-int8": {"stage": "quantize", "source": "tucker", "method": "static"},
    }


@dataclass(frozen=True)
class Family:
    """A family of schemes: its title, the section of params.yaml that they stand in, and the ones that stand beside every other."""

    title: str
    stage: str
    schemes: Callable[[Setting], Mapping[str, Scheme]]
    beside: tuple[str, ...] = ()


FAMILIES = {
    "quantization": Family("Quantization schemes", "quantize", lambda _setting: QUANTIZATION, beside=("bf16", "fp16")),
    "pruning": Family("Pruning", "prune", lambda setting: {**single_weights(setting), **shapes(setting)}),
    "low-rank": Family("Low rank", "factorize", low_rank),
}
