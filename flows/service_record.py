"""What `make up` started, by pid and birth time: .slimline/services.json."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from flows.environment import state_folder
from flows.processes import find
from flows.server import is_healthy
from slimline.artifact.folder import write_json
from slimline.storage.state_file import read_state

NAMES = ("server", "alerts", "worker")


@dataclass(frozen=True)
class Service:
    """One process that `up` started."""

    name: str
    pid: int
    born: float

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it still lives."""
        return find(self.pid, self.born)


@dataclass(frozen=True)
class Services:
    """All that `up` started, and where it answers."""

    api_url: str
    since: str
    processes: tuple[Service, ...]

    @property
    def ui_url(self) -> str:
        """What one opens in a browser."""
        return self.api_url.removesuffix("/api")

    @property
    def are_up(self) -> bool:
        """Whether every process lives and the server answers."""
        return len(self.living.processes) == len(NAMES) and is_healthy(self.api_url)

    @property
    def living(self) -> "Services":
        """Those whose process lives."""
        return replace(self, processes=tuple(service for service in self.processes if service.process is not None))

    def process(self, name: str) -> psutil.Process | None:
        """The process of this name, if it lives."""
        return next((service.process for service in self.processes if service.name == name), None)


def recorded(project: Path) -> Services | None:
    """What .slimline/services.json says."""
    return read_state(_path(project), _services)


def _services(content: Any) -> Services:
    processes = tuple(Service(str(one["name"]), int(one["pid"]), float(one["born"])) for one in content["processes"])
    if any(service.pid <= 0 for service in processes):
        raise ValueError("no process has such a number")
    return Services(str(content["api_url"]), str(content["since"]), processes)


def running_api_url(project: Path) -> str | None:
    """The address of the lasting server's API while it is up."""
    services = recorded(project)
    return services.api_url if services and services.process("server") else None


def write_record(project: Path, services: Services | None) -> None:
    """Say what is up; None: nothing is."""
    if services is None:
        _path(project).unlink(missing_ok=True)
    else:
        write_json(_path(project), asdict(services))


def _path(project: Path) -> Path:
    return state_folder(project) / "services.json"
