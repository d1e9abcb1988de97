"""What a Hugging Face language model loses by losing heads, width and layers, without any training: bits per byte on the standard library.

    OMP_NUM_THREADS=1 python benchmarks/language_structure_real.py DIRECTORY --variants whole "MLP 25 % activation, refit"

DIRECTORY as `slimline import-gguf` or save_pretrained writes it. Calibration and test are windows of 256 tokens of different files. Of
each variant a JSON line: parameters, bits per byte, CPU seconds of the method, and whether it is written back.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from language_structure_nets import files
from torch import nn

from slimline.data.batch import take
from slimline.data.samples import Samples
from slimline.data.windows import Windows
from slimline.errors import InputError
from slimline.methods.data import MethodData
from slimline.methods.prune.depth import depth
from slimline.methods.prune.heads import heads
from slimline.objectives.causal_lm import CausalLM
from slimline.params import DepthParams, HeadsParams
from slimline.training.fit import scored
from slimline.workloads.huggingface.directory import CONFIG, read_config
from slimline.workloads.huggingface.net import as_plain, built, parsed
from slimline.workloads.huggingface.weights import start_from_
from slimline.workloads.huggingface.windows import windows_of
from slimline.workloads.huggingface.written import write_back

LENGTH, CALIBRATION, TEST = 256, 24, 24
QUARTER: dict[str, Any] = {"fraction": 0.0, "mlp_ratio": 0.25}
VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    **{f"MLP 25 % {name}": QUARTER | {"criterion": name} for name in ("random", "l2", "activation")},
    "MLP 25 % activation, refit": QUARTER | {"criterion": "activation", "refit": True},
    "1 of 3 groups activation": {"fraction": 1 / 3, "criterion": "activation"},
    "1 of 3 groups activation, refit": {"fraction": 1 / 3, "criterion": "activation", "refit": True},
    "3 layers block_influence": {"blocks": 3, "criterion": "block_influence"},
}


def windows(preprocessing: Windows, texts: list[str], count: int) -> Samples:
    """The second window of so many files that have two."""
    cut = [list(preprocessing.cut(text[: 16 * LENGTH])) for text in texts]
    found = [(number, parts[1]) for number, parts in enumerate(cut) if len(parts) > 1 and len(parts[1].tokens) == LENGTH]
    found = found[:: max(1, len(found) // count)][:count]
    rows = {"tokens": [one.tokens for _, one in found], "label": [[one.asked, one.size_bytes, number] for number, one in found]}
    inputs, targets = preprocessing(rows), preprocessing.targets(rows)
    return Samples({k: torch.from_numpy(v) for k, v in inputs.items()}, {k: torch.from_numpy(v) for k, v in targets.items()})


def cut(net: nn.Module, config: dict[str, Any], data: MethodData) -> nn.Module:
    """A variant; the net itself where nothing is asked."""
    if "blocks" in config:
        return depth(net, DepthParams(source="teacher", method="depth", **config), data=data).model
    return heads(net, HeadsParams(source="teacher", method="heads", **config), data=data).model if config else net


def main() -> None:
    """Measure the variants that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    given = parser.parse_args()
    plain = {"task": "causal-lm", "config": as_plain(parsed(read_config(given.directory), {}, str(given.directory / CONFIG)))}
    net = built(plain)
    start_from_(net, plain, given.directory, ())
    texts = files()
    preprocessing = windows_of(given.directory, net, LENGTH, texts["test"][:4])
    calibration, test = windows(preprocessing, texts["train"], CALIBRATION), windows(preprocessing, texts["test"], TEST)
    settings: dict[str, Any] = {"train": calibration, "validation": calibration, "objective": CausalLM(), "metric": "bits_per_byte"}
    example = take(calibration.inputs, slice(0, 2))
    data = MethodData(**settings, calibration=calibration.inputs, example=example, collect=lambda _: None)  # type: ignore[arg-type,return-value]
    for name in given.variants:
        began = time.process_time()
        made = cut(net.eval(), VARIANTS[name], data)
        row: dict[str, Any] = {"variant": name, "cpu_s": round(time.process_time() - began, 1)}
        row["parameters"] = sum(value.numel() for value in made.parameters())
        row["bits_per_byte"] = float(data.objective.metrics["bits_per_byte"].figure(scored(made, test, data.objective)))
        with tempfile.TemporaryDirectory() as folder:
            try:
                row["written back"] = write_back(made, plain, example, Path(folder) / "out", given.directory)
            except InputError as error:
                row["not written back"] = str(error)
        print(json.dumps(row | {"load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
