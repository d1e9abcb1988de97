"""The lasting services: `python -m flows.services up` and `down` (`make up`, `make down`).

Prefect's server with its UI and scheduler, a worker for the deployments of prefect.yaml, what passes alerts on, and the embedded S3
store. What `up` started is recorded by pid and birth time in .slimline/services.json; `down` ends exactly that.
"""

import contextlib
import fcntl
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated
from urllib.parse import urlsplit

import psutil
import typer

from flows.environment import ALERT_TOKEN, now_utc, prefect_home, state_folder
from flows.prefect_home import healed_database
from flows.processes import identity, runs, stop_service
from flows.server import free_port, is_healthy, wait_until_healthy
from flows.service_record import Service, Services, recorded, write_record
from slimline.errors import BusyError, SlimlineError
from slimline.params import Params
from slimline.project import find_project
from slimline.storage.state_file import refusal, set_aside, state_folder_at

DEFAULT_PORT = 4200
POOL = "slimline"
NOTHING: Mapping[str, str] = MappingProxyType({})
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


def start_services(project: Path, port: int = DEFAULT_PORT) -> Services:
    """Bring up what is not up yet, and register the deployments; what lives goes on, with its runs. Port 0 takes a free one.

    Raises:
        BusyError: the port is taken.
        InputError: an address of alerts is none.
        SlimlineError: a service did not start; nothing that this call started is left.
    """
    from flows.alert_targets import addresses
    from flows.deployments import deploy

    params = Params.load(project / "params.yaml")
    addresses(os.environ, project)
    with _only_one(project):
        before = recorded(project)
        if before is not None and before.are_up:
            _hold_store(project, params)
            deploy(project, before.api_url)
            return before
        left = before.living if before is not None and before.living.processes else None
        return _start_missing(project, params, left, port)


def stop_services(project: Path) -> Services | None:
    """End what `up` started, and give up the hold on the store; gives what was recorded."""
    from slimline.storage.server import release_server

    with _only_one(project):
        services = recorded(project)
        if services is not None:
            _stop(project, services)
        release_server(project)
        return services


def _start_missing(project: Path, params: Params, left: Services | None, port: int) -> Services:
    """Start what is not among those that are left; they stay where they are, also where something does not start."""
    from flows.deployments import deploy

    services = left or Services(f"http://127.0.0.1:{port or free_port()}/api", now_utc(), ())
    has_server = services.process("server") is not None
    if not has_server:
        _require_free(_port_of(services))
    with ExitStack() as where_it_fails:
        where_it_fails.callback(lambda: _take_back(project, services, left))
        with ThreadPoolExecutor(1) as beside:
            store = beside.submit(_hold_store, project, params)
            services = _with_server(project, services)
            store.result()
        if services.process("alerts") is None or not has_server:  # a server's database knows where to send alerts
            services = _with_new_alerts(project, services)
        deploy(project, services.api_url)
        if services.process("worker") is None:
            worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", *_queues()]
            services = _start(project, services, "worker", worker)[1]
        where_it_fails.pop_all()
    return services


def _take_back(project: Path, services: Services, left: Services | None) -> None:
    """End what was started, the store too where nothing else is left."""
    from slimline.storage.server import release_server

    _stop(project, services, left)
    if left is None:
        release_server(project)


def _with_server(project: Path, services: Services) -> Services:
    """Prefect's server among them, and answering."""
    log = _log(project, "server")
    if (server := services.process("server")) is not None:
        wait_until_healthy(services.api_url, lambda: None if runs(server) else 0, log)
        return services
    healed_database(prefect_home(os.environ))
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(_port_of(services))]
    process, services = _start(project, services, "server", command)
    wait_until_healthy(services.api_url, process.poll, log)
    return services


def _port_of(services: Services) -> int:
    return int(urlsplit(services.api_url).port or 0)


def _with_new_alerts(project: Path, services: Services) -> Services:
    """A new process that passes alerts on among them, and the server told of it."""
    from flows.deployments import register

    if (old := services.process("alerts")) is not None:
        stop_service(old)
    port, token = free_port(), secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "flows.alerts", str(port)]
    _, services = _start(project, services.living, "alerts", command, {ALERT_TOKEN: token})
    register(services.api_url, POOL, f"http://127.0.0.1:{port}/{token}")
    return services


def _queues() -> list[str]:
    from flows.queues import own_queues

    return [part for queue in own_queues() for part in ("--work-queue", queue)]


def _start(
    project: Path, services: Services, name: str, command: list[str], added: Mapping[str, str] = NOTHING
) -> tuple[subprocess.Popen[bytes], Services]:
    """Start one service in a session of its own, with default signals, and record it at once."""
    log = _log(project, name)
    state_folder_at(log.parent)
    environment = {**os.environ, "PREFECT_API_URL": services.api_url, **added}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    known = identity(process.pid)
    if known is None:
        raise SlimlineError(f"{name} ended at once; see {log}")
    services = Services(services.api_url, services.since, (*services.processes, Service(name, *known)))
    write_record(project, services)
    return process, services


def _stop(project: Path, services: Services, but: Services | None = None) -> None:
    """End them `but` some. The worker first, so that its runs can still be settled at the server."""
    from flows.deployments import settle_runs

    for service in reversed([one for one in services.processes if but is None or one not in but.processes]):
        if service.process is None:
            continue
        stop_service(service.process)
        if service.name == "worker" and is_healthy(services.api_url):
            settle_runs(services.api_url, POOL)
    write_record(project, but)


def _hold_store(project: Path, params: Params) -> None:
    from slimline.storage.server import hold_server

    hold_server(project, params.publish)


def _require_free(port: int) -> None:
    taken = next((link for link in psutil.net_connections("tcp4") if link.status == "LISTEN" and link.laddr.port == port), None)
    if taken is not None:
        who = f"process {taken.pid}" if taken.pid else "another process"
        raise BusyError(f"port {port} is taken by {who}; stop it, or choose another: make up PORT=4300 (0 takes a free one)")


@contextmanager
def _only_one(project: Path) -> Iterator[None]:
    lock = state_folder(project) / "services.lock"
    state_folder_at(lock.parent)
    if lock.is_dir():
        set_aside(lock)
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _log(project: Path, name: str) -> Path:
    return state_folder(project) / "logs" / f"{name}.log"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        try:
            yield
        except OSError as error:
            raise refusal(error, Path(error.filename or find_project())) from None
    except SlimlineError as error:
        typer.secho("\n".join(f"error: {line}" for line in str(error).splitlines()), fg="red", err=True)
        raise SystemExit(error.exit_code) from None


@app.command()
def up(port: Annotated[int, typer.Option(help="Of Prefect's UI and API; 0 takes a free one.")] = DEFAULT_PORT) -> None:
    """Start what is not up of Prefect's server and UI, a worker and the S3 store; and make the deployments what prefect.yaml says."""
    with _explained():
        services = start_services(find_project(), port)
        typer.echo(f"up since {services.since}: Prefect {services.ui_url}, deployments nightly/nightly and compress/on-demand")
        typer.echo(f"logs: {_log(find_project(), 'server').parent}; stop all: make down")


@app.command()
def down() -> None:
    """Stop exactly what `up` started."""
    with _explained():
        services = stop_services(find_project())
        names = ", ".join(f"{service.name} ({service.pid})" for service in services.processes) if services else "nothing was up"
        typer.echo(f"stopped: {names}")


@app.command()
def status() -> None:
    """Say what is up; exit code 1 where something is not."""
    with _explained():
        services = recorded(find_project())
        for service in services.processes if services else ():
            typer.echo(f"{service.name}: {'up' if service.process else 'gone'} (process {service.pid})")
        if services is None or not services.are_up:
            raise SlimlineError("not everything is up; start it: make up")
        typer.echo(f"Prefect answers at {services.ui_url}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        app()
