"""A small run's project: the checkout as it stands with params.yaml of this folder, and commands in clones of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DEPLOYED = ("teacher", "small-int8")
"""The variants that params.yaml deploys."""
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost")
NOT_INHERITED = ("AWS_", "PREFECT_", "COV", "PYTEST", "DVC_", "GX_", "ORT_", "NNCF_", "OMP_", "DO_NOT_TRACK", "XDG_")
"""What the line has to set by itself, telemetry's switches above all."""


def sh(folder: Path, *command: str, env: dict[str, str] | None = None, code: int | None = 0) -> str:
    """What a command that is to end with this exit code (None: any) prints."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert code is None or done.returncode == code, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def environment(home: Path, **more: str) -> dict[str, str]:
    """No settings of the user's, and a home folder of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    own |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
    own |= {
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
    }
    return own | more


def snapshot_of(project: Path, into: Path, env: dict[str, str]) -> Path:
    """The checkout as it stands, uncommitted changes included, with the small run's params, as a repository of its own."""
    for name in filter(None, sh(project, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")):
        if (project / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project / name, into / name)
    shutil.copyfile(HERE / "params.yaml", into / "params.yaml")
    (into / "dvc.lock").unlink(missing_ok=True)
    sh(into, "git", "init", "-q", "-b", "main", env=env)
    sh(into, "git", "add", "-A", env=env)
    sh(into, "git", *IDENTITY, "commit", "-q", "-m", "small run", env=env)
    return into


def clone(snapshot: Path, into: Path, env: dict[str, str]) -> Path:
    """A clone of it in an empty folder."""
    sh(into, "git", "clone", "-q", str(snapshot), ".", env=env)
    return into
