"""Every compression method by stage and name: one file each, found in one literal table."""

import importlib
from collections.abc import Callable
from typing import Any

from slimline.errors import StageError

METHODS: dict[str, dict[str, str]] = {
    "prune": {
        "magnitude": "slimline.methods.prune.magnitude:magnitude",
        "taylor": "slimline.methods.prune.taylor:taylor",
        "movement": "slimline.methods.prune.movement:movement",
        "semi_structured": "slimline.methods.prune.semi_structured:semi_structured",
        "wanda": "slimline.methods.prune.wanda:wanda",
        "sparsegpt": "slimline.methods.prune.sparsegpt:sparsegpt",
        "channels": "slimline.methods.prune.channels:channels",
        "heads": "slimline.methods.prune.heads:heads",
        "depth": "slimline.methods.prune.depth:depth",
        "lottery_ticket": "slimline.methods.prune.lottery_ticket:lottery_ticket",
        "l1_regularised": "slimline.methods.prune.l1_regularised:l1_regularised",
        "network_slimming": "slimline.methods.prune.network_slimming:network_slimming",
        "group_lasso": "slimline.methods.prune.group_lasso:group_lasso",
        "hard_concrete": "slimline.methods.prune.hard_concrete:hard_concrete",
    },
    "quantize": {
        "static": "slimline.methods.quantize.static:static",
        "adaround": "slimline.methods.quantize.adaround:adaround",
        "qat": "slimline.methods.quantize.qat:qat",
        "mixed": "slimline.methods.quantize.mixed:mixed",
        "dynamic": "slimline.methods.quantize.dynamic:dynamic",
        "half": "slimline.methods.quantize.half:half",
        "weight_only": "slimline.methods.quantize.weight_only:weight_only",
        "hqq": "slimline.methods.quantize.hqq:hqq",
        "gptq": "slimline.methods.quantize.gptq:gptq",
        "awq": "slimline.methods.quantize.awq:awq",
        "smoothquant": "slimline.methods.quantize.smoothquant:smoothquant",
    },
    "factorize": {
        "svd": "slimline.methods.factorize.svd:svd",
        "spatial_svd": "slimline.methods.factorize.spatial_svd:spatial_svd",
        "tucker": "slimline.methods.factorize.tucker:tucker",
        "cp": "slimline.methods.factorize.cp:cp",
        "factorized_training": "slimline.methods.factorize.factorized_training:factorized_training",
    },
    "distill": {
        "soft_targets": "slimline.methods.distill.soft_targets:soft_targets",
        "dkd": "slimline.methods.distill.dkd:dkd",
        "hidden_states": "slimline.methods.distill.hidden_states:hidden_states",
        "hints": "slimline.methods.distill.hints:hints",
        "attention_transfer": "slimline.methods.distill.attention_transfer:attention_transfer",
        "relational": "slimline.methods.distill.relational:relational",
        "mutual": "slimline.methods.distill.mutual:mutual",
        "self": "slimline.methods.distill.born_again:born_again",
        "assistant": "slimline.methods.distill.assistant:assistant",
        "sequence": "slimline.methods.distill.sequence:sequence",
        "scratch": "slimline.methods.distill.scratch:scratch",
    },
    "compile": {
        "eager": "slimline.methods.compile.eager:eager",
        "torchscript": "slimline.methods.compile.torchscript:torchscript",
        "inductor": "slimline.methods.compile.inductor:inductor",
        "onnxruntime": "slimline.methods.compile.onnxruntime:onnxruntime",
        "openvino": "slimline.methods.compile.openvino:openvino",
        "xla": "slimline.methods.compile.xla:xla",
        "executorch": "slimline.methods.compile.executorch:executorch",
    },
}

GENERATING: dict[str, str] = {
    "onnxruntime": "slimline.methods.compile.onnx_language:onnx_language",
    "openvino": "slimline.methods.compile.openvino_language:openvino_language",
}
"""Target -> what compiles a language model for it, so that it generates as well; on the others it scores alone, but eager needs none."""


def get_generating(target: str) -> Callable[..., Any] | None:
    """What compiles a language model for a target in its own way; None where the usual compiler does."""
    return _imported(GENERATING[target]) if target in GENERATING else None


def get_method(stage: str, name: str) -> Callable[..., Any]:
    """Import one method's function; one of the user's own where the name is a place in a file.

    Raises:
        StageError: the table has no such method.
        MethodError: a method of one's own cannot be had.
    """
    if ":" in name:
        from slimline.methods.own import held  # a process that only loads a model knows no params
        from slimline.params.own import own_function

        return held(name, stage, own_function(name))
    location = METHODS.get(stage, {}).get(name)
    if location is None:
        raise StageError(f"{stage}: no method {name!r}; there are: {', '.join(METHODS.get(stage, {})) or 'none'}")
    return _imported(location)


def _imported(location: str) -> Callable[..., Any]:
    module, _, function = location.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
