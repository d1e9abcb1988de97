"""Prefect's own state below .slimline/prefect: what is damaged is set aside, so that the next run starts anew instead of failing for ever.

Nothing here imports Prefect: it reads its profiles while it is imported.
"""

import contextlib
import sqlite3
import time
import tomllib
from pathlib import Path
from typing import Any

from slimline.errors import SlimlineError
from slimline.storage.state_file import read_state_text, set_aside, state_folder_at

DATABASE = "prefect.db"
CHECK_SECONDS = 2.0
_STEPS = 100_000


def prepared_home(home: Path) -> None:
    """Make the folder, and set profiles aside that Prefect could not be imported with."""
    state_folder_at(home)
    read_state_text(home / "profiles.toml", _profiles)


def _profiles(text: str) -> dict[str, Any]:
    content = tomllib.loads(text)
    if not isinstance(content.get("active", ""), str) or not all(isinstance(one, dict) for one in content.get("profiles", {}).values()):
        raise TypeError("no Prefect profiles")
    return content


def healed_database(home: Path) -> None:
    """Set a damaged database aside; Prefect makes a new one. Call it before a server starts.

    Raises:
        SlimlineError: it cannot be read, or the disk is full.
    """
    for path in _files(home):
        if path.is_dir():
            set_aside(path)
    if (home / DATABASE).exists() and not _is_whole(home / DATABASE):
        database_set_aside(home)


def database_set_aside(home: Path) -> None:
    """Keep the database under another name, and let Prefect begin a new one."""
    for path in _files(home):
        if path.exists():
            set_aside(path)
    (home / "memo_store.toml").unlink(missing_ok=True)  # what Prefect has written into the database already


def _files(home: Path) -> tuple[Path, ...]:
    return tuple(home / f"{DATABASE}{part}" for part in ("", "-wal", "-shm"))


def _is_whole(path: Path) -> bool:
    """What SQLite itself says of the file's pages; one too large to be read through in 2 s is taken for whole."""
    end = time.monotonic() + CHECK_SECONDS
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=CHECK_SECONDS)) as database:
            database.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT):
            return True
        if code == sqlite3.SQLITE_FULL:
            raise SlimlineError(f"disk full while reading {path}; free some space and run again, finished stages are kept") from None
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR):
            raise SlimlineError(f"{path}: {error}; give yourself the right to it (chmod u+rw {path}*), or start anew: rm {path}*") from None
        return False
