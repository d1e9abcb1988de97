"""How fast one thread of this machine can read a prompt at most: multiply-accumulates a token over what the core does a second.

    python benchmarks/language_prefill_limit.py smollm2 --length 256

Decode is bound by bytes (weight_stream.py), prefill by arithmetic: each weight is used for all tokens of the prompt. Rates are measured in
this process on the net's own matrices, in turns, the best of many: PyTorch's matrix products by oneDNN in float32, bfloat16 and int8 (int32
sums, nothing scaled). The bound of a scheme is its matrices at its rate and attention's two products at float32's or bfloat16's; all else
(norms, softmax, rotations, rounding inputs, scaling sums) takes no time in it, so that no runtime reaches it.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from slimline.measure.machine import fingerprint

ROUNDS, CALLS = 7, 20
SCHEMES = {"float32": ("float32", "float32"), "int8, rest float32": ("int8", "float32"), "int8, rest bfloat16": ("int8", "bfloat16")}
"""Name -> what the matrices and attention's products are computed in."""


def shapes(config: dict[str, int]) -> dict[tuple[int, int], int]:
    """(outputs, inputs) of a block's matrices -> how many such a net of the Llama family has; the head is read for one token alone."""
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    found: dict[tuple[int, int], int] = {}
    for shape, count in (((queries, width), 1), ((keys, width), 2), ((width, queries), 1), ((inner, width), 2), ((width, inner), 1)):
        found[shape] = found.get(shape, 0) + count * layers
    return found


def products(outputs: int, inputs: int, length: int) -> dict[str, Callable[[], object]]:
    """The same product in each type."""
    given, weight = torch.randn(length, inputs), torch.randn(outputs, inputs)
    small = [value.bfloat16() for value in (given, weight)]
    whole = [torch.randint(-127, 128, shape, dtype=torch.int8) for shape in ((length, inputs), (inputs, outputs))]
    return {
        "float32": lambda: torch.nn.functional.linear(given, weight),
        "bfloat16": lambda: torch.nn.functional.linear(*small),
        "int8": lambda: torch._int_mm(*whole),
    }


def best_s(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of process CPU time a call, the best of ROUNDS in turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(CALLS):
                call()
            found[name] = min(found[name], (time.process_time() - start) / CALLS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--length", type=int, default=256)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = json.loads((asked.directory / "config.json").read_text())
    seconds, macs = dict.fromkeys(("float32", "bfloat16", "int8"), 0.0), 0
    for (outputs, inputs), count in shapes(config).items():
        for name, took in best_s(products(outputs, inputs, asked.length)).items():
            seconds[name] += count * took
        macs += count * outputs * inputs * asked.length
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    attention = 2 * asked.length**2 * width * config["num_attention_heads"] * config["num_hidden_layers"]
    rates = {name: macs / took for name, took in seconds.items()}
    print(f"{fingerprint()['cpu']}, one thread, load {os.getloadavg()[0]:.1f}; a prompt of {asked.length} tokens:")
    print(f"{macs / 1e9:.1f} G multiply-accumulates in the blocks' matrices, {attention / 1e9:.1f} G in attention")
    print(", ".join(f"{name} {rate / 1e9:.0f} GMAC/s ({rate / rates['float32']:.2f}x)" for name, rate in rates.items()))
    whole = {scheme: macs / rates[one] + attention / rates[other] for scheme, (one, other) in SCHEMES.items()}
    for scheme, took in whole.items():
        print(f"{scheme}: at most {asked.length / took:.0f} tokens/s, {whole['float32'] / took:.2f}x of float32's bound")


if __name__ == "__main__":
    main()
