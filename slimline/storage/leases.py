"""Who uses the embedded server: one small file a user, named by process; the dead are dropped by whoever looks next."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil

from slimline.artifact.folder import write_text
from slimline.errors import StorageUnavailable
from slimline.storage.state_file import DAMAGED_NAME, read_state_text, set_aside, state_folder_at

HOLD = "hold"
WAIT_S = 90.0
POLL_S = 0.05


def process_mark(pid: int | None = None) -> str:
    """A process as pid:create_time; no other process ever has the same."""
    process = psutil.Process(pid)
    return f"{process.pid}:{process.create_time():.2f}"


def is_alive(mark: str) -> bool:
    """Whether the very process of a mark still runs (a zombie does not)."""
    pid, _, born = mark.partition(":")
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(born)) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


@contextlib.contextmanager
def locked(folder: Path, name: str = "lock") -> Iterator[None]:
    """Hold a lock of the folder; the kernel frees it when the holder dies.

    Raises:
        StorageUnavailable: another process keeps it for longer than WAIT_S.
    """
    state_folder_at(folder, 0o700)
    path = folder / name
    if path.is_dir():
        set_aside(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(handle, path)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, path: Path) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise StorageUnavailable(
                    f"embedded S3 server: another process has held {path} for {WAIT_S:.0f} s; see which with `fuser`, end it"
                ) from None
            time.sleep(POLL_S)
        else:
            return


def take(folder: Path) -> Path:
    """Add a lease of this process (it may have several); call it under the lock."""
    mark = process_mark()
    lease = folder / "leases" / f"{mark.partition(':')[0]}-{uuid4().hex}"
    write_text(lease, mark)
    return lease


def hold(folder: Path) -> None:
    """Add the lease that no process needs to live for; it ends with `drop_hold` or a reboot."""
    write_text(folder / "leases" / HOLD, f"boot:{psutil.boot_time():.0f}")


def drop_hold(folder: Path) -> None:
    """Take the lasting lease away."""
    (folder / "leases" / HOLD).unlink(missing_ok=True)


def holders(folder: Path) -> list[str]:
    """The living leases' marks ("hold" for the lasting one); dead leases are removed. Call it under the lock."""
    living = []
    for lease in sorted(path for path in state_folder_at(folder / "leases").glob("[!.]*") if DAMAGED_NAME not in path.name):
        mark = read_state_text(lease, str)
        if mark is None:
            continue
        if lease.name == HOLD and _is_this_boot(mark):
            living.append(HOLD)
        elif lease.name != HOLD and is_alive(mark):
            living.append(mark)
        else:
            lease.unlink(missing_ok=True)
    return living


def _is_this_boot(mark: str) -> bool:
    with contextlib.suppress(ValueError):
        return abs(float(mark.partition(":")[2]) - psutil.boot_time()) < 60
    return False
