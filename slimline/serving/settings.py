"""How a server is set, and what it refuses to be set to; all problems at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slimline.errors import InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHORTEST_KEY = 16
"""Characters of an API key."""


@dataclass(frozen=True)
class Settings:
    """Limits of a server. `batch_size` 1 switches batching off, `cache_mb` 0 the output cache."""

    host: str = "127.0.0.1"
    port: int = 8000
    name: str | None = None
    threads: int = 1
    batch_size: int = 16
    batch_wait_ms: float = 3.0
    concurrency: int = 8
    """Answers that a language model works on at a time."""
    queue_length: int = 64
    """Requests that wait for the model; one more is told to come again."""
    samples: int = 128
    """Of one request."""
    body_bytes: int = 16_000_000
    timeout_s: float = 60.0
    max_tokens: int = 1024
    cache_mb: int = 64
    cache_ttl_s: float = 3600.0
    drain_s: float = 30.0
    """How long a stopping server waits for the requests that it has begun."""
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold them to their bounds: no server has others.

        Raises:
            InputError: one or more are beyond them; a line each.
        """
        if problems := tuple(_problems(self)):
            raise InputError("\n".join(problems))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK


LOWEST = {
    "threads": 1,
    "batch_size": 1,
    "batch_wait_ms": 0,
    "concurrency": 1,
    "queue_length": 1,
    "samples": 1,
    "body_bytes": 1000,
    "max_tokens": 1,
    "cache_mb": 0,
    "cache_ttl_s": 1,
    "timeout_s": 0.1,
    "drain_s": 0,
}
HIGHEST = {
    "threads": 1024,
    "batch_size": 4096,
    "batch_wait_ms": 1000,
    "concurrency": 256,
    "queue_length": 100_000,
    "samples": 100_000,
    "body_bytes": 2_000_000_000,
    "max_tokens": 10_000_000,
    "cache_mb": 1_000_000,
    "cache_ttl_s": 31_536_000,
    "timeout_s": 86_400,
    "drain_s": 86_400,
}


def _problems(settings: Settings) -> Iterator[str]:
    if not 0 <= settings.port <= 65_535:
        yield f"--port {settings.port}: must be 0 (any free one) to 65535"
    for name, lowest in LOWEST.items():
        value = getattr(settings, name)
        if not lowest <= value <= HIGHEST[name]:
            yield f"--{name.replace('_', '-')} {value:g}: must be {lowest:g} to {HIGHEST[name]:,}"
    if settings.name is not None and not (settings.name.isprintable() and 0 < len(settings.name) <= 200):
        yield f"--name {settings.name[:50]!r}: must be 1 to 200 printable characters"


def keys_of(path: Path | None) -> tuple[str, ...]:
    """The API keys of a file, one a line.

    Raises:
        InputError: it cannot be read, holds none, or one that is too short.
    """
    if path is None:
        return ()
    try:
        keys = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--api-key-file {path}: cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    if not keys:
        raise InputError(f"--api-key-file {path}: holds no key; write one a line, or leave the option out")
    if any(len(key) < SHORTEST_KEY or not key.isascii() for key in keys):
        raise InputError(f"--api-key-file {path}: a key is shorter than {SHORTEST_KEY} characters, or not ASCII; make it longer")
    return keys
