"""What compression costs a real language model: SmolLM2-135M, bits per byte of Python files that no method has read.

    python benchmarks/language_methods.py quantize prune low_rank --out language_methods.json

The model comes from a package of the registry, a GGUF of 4-bit weights (Q4_1: groups of 32, each with a scale and a smallest value of its
own). So its weights lie on such grids already: `hqq` in groups of 32 finds them again and loses nothing, rounding in groups of 64 and 128
does not. Calibration and test are windows of different files of the standard library; the seed draws which. Rows are printed, and added to
the file, as they come.
"""

import argparse
import json
import os
import random
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from real_models import smollm2
from torch import nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.samples import Samples
from slimline.data.windows import Windows
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes
from slimline.objectives.causal_lm import causal_lm
from slimline.params import CONFIGS
from slimline.workloads.huggingface.net import as_plain, built

from transformers import AutoModelForCausalLM  # isort: skip

WIDTH, WINDOWS_A_FILE = 256, 2
SMALLEST, LARGEST = 3_000, 60_000
OBJECTIVE = causal_lm()
HEAD = {"keep": ("*lm_head",)}
Rows = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One method at one setting; `seed` draws the calibration files."""

    stage: str
    method: str
    settings: Mapping[str, Any]
    seed: int = 0

    @property
    def label(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.settings.items() if name != "keep")
        return f"{self.method} ({told}), seed {self.seed}"


def quantize() -> Iterator[Run]:
    for size in (32, 64, 128):
        yield Run("quantize", "weight_only", {"bits": 4, "group_size": size, "symmetric": False})
        yield Run("quantize", "hqq", {"bits": 4, "group_size": size})
        yield Run("quantize", "gptq", {"bits": 4, "group_size": size})
    yield Run("quantize", "awq", {"bits": 4, "group_size": 64})
    yield Run("quantize", "gptq", {"bits": 4, "group_size": 64, "embeddings": "int4"})
    yield Run("quantize", "weight_only", {"bits": 8, "granularity": "per-channel"})


def three_bits() -> Iterator[Run]:
    yield Run("quantize", "gptq", {"bits": 3, "group_size": 64})
    yield Run("quantize", "awq", {"bits": 3, "group_size": 64})


def mixed() -> Iterator[Run]:
    shared = {"precisions": ("int8", "int4"), "inputs": "running", "max_drop": 0.9, "samples": 4}
    for ratio in (4.5, 5.0, 5.5):
        for compensate in (False, True):
            yield Run("quantize", "mixed", {"budget": {"size_ratio": ratio}, "compensate": compensate, **shared})


def prune() -> Iterator[Run]:
    yield Run("prune", "magnitude", {"fraction": 0.5, "scope": "local"})
    yield Run("prune", "semi_structured", {"n": 2, "m": 4})
    for seed in range(3):
        yield Run("prune", "sparsegpt", {"fraction": 0.5}, seed)
        yield Run("prune", "sparsegpt", {"n": 2, "m": 4}, seed)
        yield Run("prune", "wanda", {"n": 2, "m": 4}, seed)
    yield Run("prune", "wanda", {"fraction": 0.5})


def low_rank() -> Iterator[Run]:
    for settings in ({"activation_aware": False}, {}, {"damping": 0.01}):
        yield Run("factorize", "svd", {"parameter_ratio": 0.8, "round_to": 8, **settings, **HEAD})
    yield Run("factorize", "svd", {"budget": {"parameters": 0.842}, "round_to": 8, "damping": 0.01, **HEAD})


PARTS = {"quantize": quantize, "three_bits": three_bits, "mixed": mixed, "prune": prune, "low_rank": low_rank}


def loaded(folder: Path) -> nn.Module:
    found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    net: Any = built({"task": "causal-lm", "config": as_plain(found.config)}, {})
    net.body.load_state_dict(found.state_dict())
    net.body.tie_weights()
    return net.eval()


def files() -> list[str]:
    """Files of the standard library, tests and encodings left out, in an order of chance."""
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "site-packages", "encodings", "idlelib"}
    found = sorted(path for path in root.rglob("*.py") if not left_out & set(path.parts) and SMALLEST < path.stat().st_size < LARGEST)
    random.Random(0).shuffle(found)
    return [path.read_text(errors="ignore") for path in found]


def rows_of(windows: Windows, documents: list[str]) -> Rows:
    """The first windows of each document, as a workload's rows."""
    cut = [(window, number) for number, text in enumerate(documents) for window in list(windows.cut(text))[:WINDOWS_A_FILE]]
    labels = [[window.asked, window.size_bytes, number] for window, number in cut]
    return {"tokens": [window.tokens for window, _ in cut], "label": labels}


def samples_of(windows: Windows, rows: Rows) -> Samples:
    inputs, targets = windows(rows), windows.targets(rows)
    return Samples(
        {name: torch.from_numpy(value) for name, value in inputs.items()},
        {name: torch.from_numpy(value) for name, value in targets.items()},
    )


def bits_per_byte(net: nn.Module, test: Samples) -> float:
    bits = size = 0.0
    for first in range(0, len(test.inputs["input_ids"]), 2):
        part = test.take(slice(first, first + 2))
        with torch.inference_mode():
            scores = OBJECTIVE.scores(net(**part.inputs), part.targets)
        bits, size = bits + float(scores["bits"].sum()), size + float(scores["bytes"].sum())
    return bits / size


def method_data(calibration: Samples) -> MethodData:
    example = {name: value[:2] for name, value in calibration.inputs.items()}
    whole: dict[str, Any] = {"train": calibration, "validation": calibration, "objective": OBJECTIVE, "metric": "bits_per_byte"}
    return MethodData(
        calibration=calibration.inputs, example=example, collect=lambda net: collect_statistics(net, calibration.inputs, 2), **whole
    )


def measured(run: Run, net: nn.Module, calibration: Samples, test: Samples) -> dict[str, Any]:
    """A row: bits per byte, the whole model's bytes as stored, and the CPU seconds of the method."""
    config = CONFIGS[run.stage][run.method](source="teacher", method=run.method, **run.settings)
    data, started = method_data(calibration), time.process_time()
    read = {"statistics": data.collect(net)} if run.method == "mixed" else {}
    made = get_method(run.stage, run.method)(net, config, data=data, **read)
    seconds = time.process_time() - started
    plan, grids = getattr(made, "plan", NO_PLAN), getattr(made, "grids", {})
    judged = simulate(made.model, plan, grids) if run.stage == "quantize" else made.model
    if run.stage == "prune":  # magnitude takes the head as well, which is the embedding too
        judged.get_submodule("body.lm_head").load_state_dict(net.get_submodule("body.lm_head").state_dict())
    size = stored_bytes(made.model, plan, uses_of(made.model, data.example), grids)
    return {"run": run.label, "bits_per_byte": bits_per_byte(judged, test), "bytes": size, "method_cpu_s": round(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--directory", type=Path, help="a directory of the model that was made before")
    parser.add_argument("--calibration", type=int, default=8, help="files, two windows of 256 tokens of each")
    parser.add_argument("--test", type=int, default=8, help="files, as many windows of each")
    parser.add_argument("--match", default="", help="only runs whose label holds this")
    parser.add_argument("--out", type=Path, default=Path("language_methods.json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = asked.directory or smollm2(Path(place) / "smollm2")
        net = loaded(folder)
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
    windows, texts = Windows(tokenizer=tokenizer, window=WIDTH, longest=2048, pad_id=2), files()
    test = samples_of(windows, rows_of(windows, texts[-asked.test :]))
    base = bits_per_byte(net, test)
    example = {name: value[:2] for name, value in test.inputs.items()}
    rows: list[dict[str, Any]] = json.loads(asked.out.read_text()) if asked.out.exists() else []
    rows.append({"run": "float32", "bits_per_byte": base, "bytes": stored_bytes(net, NO_PLAN, uses_of(net, example))})
    print(rows[-1], flush=True)
    for run in (run for part in asked.parts for run in PARTS[part]()):
        if asked.match in run.label:
            drawn = texts[asked.calibration * run.seed : asked.calibration * (run.seed + 1)]
            row = measured(run, net, samples_of(windows, rows_of(windows, drawn)), test)
            row |= {"worse": f"{row['bits_per_byte'] / base - 1:.2%}", "smaller": round(rows[0]["bytes"] / row["bytes"], 2)}
            rows.append(row | {"load": round(os.getloadavg()[0], 1)})
            print(rows[-1], flush=True)
            asked.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
