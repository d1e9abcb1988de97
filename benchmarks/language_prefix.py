"""SmolLM2-135M: the first token of a prompt whose first 1,024 tokens are known, beside one that is new.

    python benchmarks/language_prefix.py DIRECTORY WORK MODEL… [--prompts 5] [--threads 1]

DIRECTORY and WORK as in language_speed.py, which has made the models; MODEL is one of its names. With and without the cache in turns,
each prompt with 16 tokens of its own; wall time, and CPU time of this process.
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from language_speed import MODELS, generator

from slimline.generation import Sampling
from slimline.generation.prompt_cache import PromptCache

PREFIX, OWN = 1024, 16


def first_token(made: Any, prompt: list[int]) -> tuple[float, float, tuple[int, ...]]:
    """Milliseconds to the first token by the wall and by CPU time of one of 8 tokens, and these."""
    cpu = time.process_time()
    made.generate(prompt, Sampling(max_new_tokens=1))
    cpu_ms = 1000 * (time.process_time() - cpu)
    answer = made.generate(prompt, Sampling(max_new_tokens=8))
    return answer.first_token_ms, cpu_ms, answer.tokens


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("models", nargs="+", choices=list(MODELS))
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    draws = np.random.default_rng(0)
    prefix = draws.integers(3, 40000, PREFIX).tolist()
    for name in asked.models:
        folder, target = asked.work / name.replace(" ", "-"), MODELS[name][0]
        plain = generator(asked.directory, folder, target, asked.threads)
        cached = generator(asked.directory, folder, target, asked.threads, PromptCache("benchmark"))
        cached.generate(prefix, Sampling(max_new_tokens=1))
        pairs = []
        for _ in range(asked.prompts):
            prompt = [*prefix, *draws.integers(3, 40000, OWN).tolist()]
            pairs.append((first_token(plain, prompt), timed_once(cached, prompt)))
        ratio = statistics.median(new[1] / known[1] for new, known in pairs)
        new_ms, known_ms = (statistics.median(pair[which][1] for pair in pairs) for which in (0, 1))
        equal = sum(new[2] == known[2] for new, known in pairs)
        print(
            f"{name}: first token after {new_ms:.0f} ms of CPU, with {PREFIX:,} tokens known after {known_ms:.0f} ms: {ratio:.1f} times "
            "faster; "
            f"{equal} of {len(pairs)} answers of 8 tokens equal; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def timed_once(made: Any, prompt: list[int]) -> tuple[float, float, tuple[int, ...]]:
    """The same for a prompt of which only the beginning is known: its second answer would know all of it."""
    cpu = time.process_time()
    answer = made.generate(prompt, Sampling(max_new_tokens=1))
    cpu_ms = 1000 * (time.process_time() - cpu)
    return answer.first_token_ms, cpu_ms, made.generate(prompt, Sampling(max_new_tokens=8)).tokens


if __name__ == "__main__":
    main()
