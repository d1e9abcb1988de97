"""`slimline serve`: a release over HTTP."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from slimline.commands.own_workload import OwnWorkload
from slimline.errors import InputError

NEEDED = ("fastapi", "prometheus_client", "uvicorn")


def serve(
    location: Annotated[str, typer.Argument(help="A folder, or the s3:// URL of a release or an alias.")],
    host: Annotated[str, typer.Option(help="Where to listen; anything but loopback can be reached by others.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 8000,
    name: Annotated[str | None, typer.Option(help="What requests call the model; default: VARIANT-TARGET.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the model; default: the cores of this process.")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples that are worked on at once; 1: no batching.")] = 16,
    batch_wait_ms: Annotated[float, typer.Option(help="How long an idle model waits for more requests.")] = 3.0,
    concurrency: Annotated[int, typer.Option(help="Answers that a language model works on at once.")] = 8,
    queue_length: Annotated[int, typer.Option(help="Requests that wait; one more is told 503.")] = 64,
    samples: Annotated[int, typer.Option(help="The most samples of one request.")] = 128,
    body_bytes: Annotated[int, typer.Option(help="The largest body.")] = 16_000_000,
    timeout_s: Annotated[float, typer.Option(help="The longest that an answer may take.")] = 60.0,
    max_tokens: Annotated[int, typer.Option(help="The longest answer of a language model.")] = 1024,
    cache_mb: Annotated[int, typer.Option(help="What a language model's answers that would come again may take on disk; 0: none.")] = 64,
    cache_ttl_s: Annotated[float, typer.Option(help="How long one is kept.")] = 3600.0,
    drain_s: Annotated[float, typer.Option(help="How long a stopping server finishes what it has begun.")] = 30.0,
    api_key_file: Annotated[Path | None, typer.Option(help="Keys, one a line; requests must send one as a bearer.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Load a torchscript or inductor model, which runs code.")] = False,
    workload: OwnWorkload = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print {url, name, release, batching} when it serves.")] = False,
) -> None:
    """Serve a model over HTTP: `/predict`, and for texts OpenAI's `/v1/completions`, `/v1/chat/completions` and `/v1/embeddings`.

    Example: `slimline serve s3://slimline/releases/images/aliases/latest.json --port 8000`
    """
    _require_installed()
    from slimline.serving.settings import Settings, keys_of

    settings = Settings(
        host=host,
        port=port,
        name=name,
        threads=threads if threads is not None else len(os.sched_getaffinity(0)),
        batch_size=batch_size,
        batch_wait_ms=batch_wait_ms,
        concurrency=concurrency,
        queue_length=queue_length,
        samples=samples,
        body_bytes=body_bytes,
        timeout_s=timeout_s,
        max_tokens=max_tokens,
        cache_mb=cache_mb,
        cache_ttl_s=cache_ttl_s,
        drain_s=drain_s,
        keys=keys_of(api_key_file),
    )
    from slimline.serving.server import serve as run

    run(location, settings, as_json=as_json, workload=workload, trust_code=trust_code)


def _require_installed() -> None:
    if missing := [module for module in NEEDED if importlib.util.find_spec(module) is None]:
        raise InputError(f"slimline serve needs {', '.join(missing)}; pip install 'slimline[serve]'")
