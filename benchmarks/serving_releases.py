"""Real models as the folders that the stage `compile` leaves, for benchmarks of what serves them."""

import tempfile
from pathlib import Path
from typing import Any

import real_models
import torch
from torch import nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums, write_json
from slimline.artifact.manifest import write_manifest
from slimline.data.preprocessing import Preprocessing
from slimline.data.signature import signature_of
from slimline.methods import get_generating, get_method
from slimline.model import PREPROCESSING
from slimline.objectives import Objective
from slimline.objectives.causal_lm import causal_lm
from slimline.objectives.described import described
from slimline.objectives.embedding import embedding
from slimline.params.quantize import DynamicParams
from slimline.training.fit import predict
from slimline.workloads.huggingface.directory import read_config
from slimline.workloads.huggingface.facts import pooling_of
from slimline.workloads.huggingface.net import as_plain, built, parsed, sketched
from slimline.workloads.huggingface.tokenizer import tokens_of
from slimline.workloads.huggingface.weights import start_from_
from slimline.workloads.huggingface.windows import windows_of

TEXTS = ("", "fine day", "The soup was cold, and the rain did not stop all day. " * 20)


def minilm_release(folder: Path, target: str = "openvino") -> Path:
    """all-MiniLM-L6-v2 with int8 Linear layers."""
    with tempfile.TemporaryDirectory() as place:
        source = real_models.minilm(Path(place) / "minilm")
        net = {"config": as_plain(parsed(read_config(source), {}, "config.json")), "task": "encoder", "pooling": pooling_of(source)}
        tokens = tokens_of(source, "text", sketched(net), TEXTS)
        encoder = built(net)
        start_from_(encoder, net, source, ())
    made = get_method("quantize", "dynamic")(encoder.eval(), DynamicParams(source="teacher", method="dynamic"))
    return write_release(folder, target, made.model, made.plan, tokens, embedding(), "minilm")


def smollm2_release(folder: Path, target: str = "openvino") -> Path:
    """SmolLM2-135M-Instruct with int8 Linear layers."""
    with tempfile.TemporaryDirectory() as place:
        source = real_models.smollm2(Path(place) / "smollm2")
        net = {"config": as_plain(parsed(read_config(source), {}, "config.json")), "task": "causal-lm"}
        windows = windows_of(source, sketched(net), 256, TEXTS)
        model = built(net)
        start_from_(model, net, source, ())
    made = get_method("quantize", "dynamic")(model.eval(), DynamicParams(source="teacher", method="dynamic"))
    return write_release(folder, target, made.model, made.plan, windows, causal_lm(), "smollm2")


def write_release(
    folder: Path, target: str, net: nn.Module, plan: Any, preprocessing: Preprocessing, objective: Objective, workload: str
) -> Path:
    """A net compiled for a target, with its preprocessing."""
    folder.mkdir(parents=True)
    batches = [{name: torch.from_numpy(value) for name, value in preprocessing({"text": [text] * 2}).items()} for text in TEXTS]
    signature = signature_of(batches, predict(net, batches[-1]))
    given = {"example": batches[1], "calibration": batches[1], "signature": signature}
    compiler = (get_generating(target) if objective.name == "causal_lm" else None) or get_method("compile", target)
    lowered = compiler(net, plan, folder, **given)
    write_json(folder / PREPROCESSING, preprocessing.model_dump(mode="json"))
    about = {
        "workload": workload,
        "variant": "int8",
        "stage": "quantize",
        "method": "dynamic",
        "source": "teacher",
        "lineage": ("teacher",),
    }
    runs = {"precision": lowered.precision, "computes": lowered.computes, "execution": lowered.execution, "files": checksums(folder)}
    read = {"signature": signature, "objective": described(objective), "source_sha256": "0" * 64}
    write_manifest(folder, CompiledManifest(target=target, **about, **runs, **read))
    return folder
