"""A server's life: the port first, then the model, then requests; on SIGTERM it ends what it has begun and takes nothing new."""

import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from slimline.errors import InputError
from slimline.runtime import load
from slimline.serving.app import application
from slimline.serving.front import State
from slimline.serving.service import Service, opened
from slimline.serving.settings import Settings

log = logging.getLogger(__name__)
BACKLOG = 512
LAST_WORDS_S = 2.0
"""How long answers that were cut off may take to be told so."""


def serve(location: str | Path, settings: Settings, *, as_json: bool = False, **how: Any) -> None:
    """Serve a model until SIGINT or SIGTERM; `how` is as slimline.runtime.load takes it. `as_json` also says where on standard output.

    Raises:
        InputError: the port is taken, the host is none of this machine, or the model cannot be loaded.
    """
    with bound(settings) as listener:
        service = opened(load(location, threads=settings.threads, **how), settings)
        state = State()
        config = uvicorn.Config(
            application(service, state),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=int(LAST_WORDS_S),
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        _announce(service, listener, as_json=as_json)
        Server(config, state, settings.drain_s).run(sockets=[listener])
        is_over = service.close()
        log.info("stopped")
        if not is_over:
            logging.shutdown()
            os._exit(0)  # a runtime that is still at work aborts a process that ends in the usual way


def bound(settings: Settings) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the port is taken or not ours to take, or the host is none of this machine.
    """
    where = f"--host {settings.host[:100]} --port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{where}: {reason}; give another port (--port 0: any free one), or end what uses it") from error
    return listener


def _announce(service: Service, listener: socket.socket, *, as_json: bool) -> None:
    host, port = listener.getsockname()[:2]
    settings = service.settings
    if not settings.is_loopback and not settings.keys:
        log.warning("warning: --host %s: whoever reaches this machine may ask, and nothing is encrypted; see --api-key-file", settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    log.info("serving %s (release %s, batching %s) at %s; stop: Ctrl-C", service.name, service.identity, service.batching, url)
    if as_json:
        told = {"url": url, "name": service.name, "release": service.identity, "batching": service.batching}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


class Server(uvicorn.Server):
    """Uvicorn, which on a first signal goes on until no request is left, `drain_s` at most, and on a second one ends at once."""

    def __init__(self, config: uvicorn.Config, state: State, drain_s: float) -> None:
        super().__init__(config)
        self.state, self.drain_s = state, drain_s
        self.deadline = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to stop; a second signal does not wait."""
        if self.state.is_draining:
            self.should_exit = self.force_exit = True
            return
        self.state.is_draining = True
        self.deadline = time.monotonic() + self.drain_s
        log.info("%s: %d requests are finished first", signal.Signals(sig).name, self.state.in_flight)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        if self.state.is_draining and (self.state.in_flight == 0 or time.monotonic() > self.deadline):
            self.should_exit = True
        return await super().on_tick(counter)
