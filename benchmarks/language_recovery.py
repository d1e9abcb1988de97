"""What training after a cut brings a real language model, and what a teacher adds: bits per byte of SmolLM2-135M with fewer layers.

    OMP_NUM_THREADS=1 python benchmarks/language_recovery.py DIRECTORY --layers 20 --epochs 2 --out language_recovery.json

Ten of thirty layers go, by how little they turn their input. Each row then trains what is left over the same windows: every weight,
low-rank updates (LoRA), updates over an int4 base (QLoRA, stored as int4), and a student with its teacher's likeliest tokens beside the
labels, whose controls have the labels alone, at equal steps and at equal compute. All see Python files, which the model was not made for:
"whole, LoRA" tells how much of a gain is that and no repair. Test windows are of files that no training read.
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from language_methods import OBJECTIVE, bits_per_byte, files, loaded, method_data, rows_of, samples_of
from torch import nn

from slimline.data.samples import head
from slimline.data.windows import Windows
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.distill.cost import steps_of_equal_compute
from slimline.methods.distill.fewer_layers import fewer_layers
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.on_grid import roundings
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes
from slimline.params import CONFIGS
from slimline.params.section import Recovery
from tasks.variant import recover

LORA = {"lora_rank": 16}
RECOVERIES: dict[str, dict[str, Any]] = {
    "cut, LoRA": LORA,
    "cut, QLoRA int4": {**LORA, "lora_grid": "int4", "lora_group": 64},
    "cut, all weights": {"learning_rate": 1e-4},
}
STUDENTS = ("student, soft_targets", "student, labels, equal steps", "student, labels, equal compute")
ROWS = ("whole", "whole, LoRA", "cut", *RECOVERIES, *STUDENTS)
INT4 = {"bits": 4, "group_size": 64}
Made = tuple[nn.Module, int]


def recovered(net: nn.Module, cut: nn.Module, settings: Mapping[str, Any], data: MethodData, budget: Mapping[str, Any]) -> Made:
    """What `recover` makes of a cut net, and its bytes: of one that ends on an int4 grid as weight_only stores it."""
    config = Recovery(**{**budget, **settings})
    made, _ = recover(cut, net, config, data, roundings(cut, config))
    if config.lora_grid is None:
        return made, stored_bytes(made, NO_PLAN, uses_of(made, data.example))
    stored = get_method("quantize", "weight_only")(made, CONFIGS["quantize"]["weight_only"](source="cut", method="weight_only", **INT4))
    size = stored_bytes(stored.model, stored.plan, uses_of(stored.model, data.example), stored.grids)
    return simulate(stored.model, stored.plan, stored.grids), size


def taught(net: nn.Module, name: str, layers: int, data: MethodData, budget: Mapping[str, Any]) -> Made:
    """A student of fewer layers at even distances, or one of its controls."""
    student = fewer_layers(net, layers, data.example)
    kind = "soft_targets" if name == STUDENTS[0] else "scratch"
    shared = {"source": "teacher", "source_layers": layers, **budget}
    guided = CONFIGS["distill"]["soft_targets"](**shared, method="soft_targets", temperature=1.0, alpha=0.5)
    config: Any = guided if kind == "soft_targets" else CONFIGS["distill"]["scratch"](**shared, method="scratch", control_of="student")
    if name == STUDENTS[2]:
        steps = steps_of_equal_compute(student, net, guided, head(data.train, 2), OBJECTIVE, len(data.train), anew=False)
        config = config.model_copy(update={"steps": steps})
    made = get_method("distill", kind)(student, net, config, data=data).model
    return made, stored_bytes(made, NO_PLAN, uses_of(made, data.example))


def maker(name: str, net: nn.Module, cut: Callable[[], nn.Module], layers: int, data: MethodData, budget: Mapping[str, Any]) -> Made:
    """The net of one row and its bytes."""
    if name in STUDENTS:
        return taught(net, name, layers, data, {**budget, "learning_rate": 1e-4})
    base = copy.deepcopy(net) if name.startswith("whole") else cut()
    settings = LORA if name == "whole, LoRA" else RECOVERIES.get(name, {"epochs": 0})
    return recovered(net, base, settings, data, budget)


def main() -> None:
    """Make and judge the rows that are asked for; each stands in the file as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=20, help="how many are left")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--train", type=int, default=96, help="files, two windows of 256 tokens of each")
    parser.add_argument("--test", type=int, default=16, help="files, as many windows of each")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16", help="of the training, under autocast")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path("language_recovery.json"))
    asked = parser.parse_args()
    net = loaded(asked.directory)
    windows = Windows(tokenizer=json.loads((asked.directory / "tokenizer.json").read_text()), window=256, longest=2048, pad_id=2)
    texts = files()
    parts = (texts[: asked.train], texts[-asked.test - 8 : -asked.test], texts[-asked.test :])
    train, validation, test = (samples_of(windows, rows_of(windows, part)) for part in parts)
    data = replace(method_data(head(train, 16)), train=train, validation=validation)
    budget = {
        "epochs": asked.epochs,
        "batch_size": 8,
        "learning_rate": 5e-4,
        "precision": asked.precision,
        "threads": torch.get_num_threads(),
    }
    blocks = net.body.config.num_hidden_layers - asked.layers
    config = CONFIGS["prune"]["depth"](source="teacher", method="depth", blocks=blocks, criterion="block_influence", rescore=False)
    rows: list[dict[str, Any]] = json.loads(asked.out.read_text()) if asked.out.exists() else []
    for name in asked.rows:
        began = time.process_time()
        made, size = maker(name, net, lambda: get_method("prune", "depth")(net, config, data=data).model, asked.layers, data, budget)
        row = {"row": name, "layers": asked.layers, "windows": len(data.train), "epochs": asked.epochs, "bytes": size}
        row |= {"cpu_s": round(time.process_time() - began), "bits_per_byte": bits_per_byte(made.eval(), test), "load": os.getloadavg()[0]}
        rows.append(row)
        print(json.dumps(row), flush=True)
        asked.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
