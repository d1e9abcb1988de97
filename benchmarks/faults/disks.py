"""Full and read-only disks below everything that Slimline writes: one line each, exit 1 or 2, nothing half written. Needs root, to mount.

    python benchmarks/faults/disks.py --seed 0

A small tmpfs takes the place of each folder in a copy of the tiny project of tests/flow; the flow and the store then write there.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from tries import MEGABYTE, SLIMLINE, Outcome, Try, counted, tried

FULL_BYTES = (0, 1 << 14, 1 << 17, 1 << 20)
"""What is left on the disk."""
FLOW = (sys.executable, "-m", "flows.compress", "--no-publish")
PLACES = {
    "data": FLOW,
    "reports": FLOW,
    ".dvc/cache": FLOW,
    ".dvc/tmp": FLOW,
    ".slimline": FLOW,
    ".slimline/s3": (*SLIMLINE, "s3", "--", "true"),
    ".slimline/s3/data": (*SLIMLINE, "s3", "--", "true"),
}
"""A folder -> the command that writes there."""


@contextmanager
def disk(folder: Path, free_bytes: int, *, writable: bool) -> Iterator[None]:
    """A disk in a folder's place, with what the folder held, and `free_bytes` left on it."""
    held = folder.with_name(f"{folder.name}.held")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, held, symlinks=True)
    size = sum(-(-path.lstat().st_size // 4096) * 4096 + 4096 for path in held.rglob("*")) + (1 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + free_bytes}", "tmpfs", folder], check=True)
    try:
        shutil.copytree(held, folder, symlinks=True, dirs_exist_ok=True)
        left = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        (folder / ".filler").write_bytes(b"\0" * max(0, left - free_bytes))
        if not writable:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(held)


def project(folder: Path) -> Path:
    """The tiny project, never run."""
    tiny = Path(__file__).parents[2] / "tests/flow/tiny"
    root = folder / "project"
    shutil.copytree(tiny, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "gitignore.txt").rename(root / ".gitignore")
    (root / "dvc.yaml.txt").rename(root / "dvc.yaml")
    commit = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@example.org", "commit", "-qm", "tiny"]
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["git", "init", "-q"], [*dvc, "init", "-q"], [*dvc, "config", "core.autostage", "false"], ["git", "add", "-A"], commit):
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    return root


def outcomes(folder: Path, seed: int) -> Iterator[Outcome]:
    """Each place on a full disk (four sizes) and on a read-only one; half written drafts are looked for afterwards."""
    every = [(place, free) for place in PLACES for free in (*FULL_BYTES, None)]
    random.Random(seed).shuffle(every)
    root = project(folder)
    for number, (place, free) in enumerate(every):
        own = folder / str(number) / "project"
        shutil.copytree(root, own, symlinks=True)
        name = f"{place}: {'read-only' if free is None else f'{free:,} bytes left'}"
        attempt = Try("read-only" if free is None else "full", name, PLACES[place], cwd=own, codes=(0, 1, 2), lines=6, limit_s=180)
        with disk(own / place, free or 10 * MEGABYTE, writable=free is not None):
            yield tried(attempt)
        shutil.rmtree(own, ignore_errors=True)


def main() -> int:
    """Run the tries and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        own = {f"DVC_{kind}": f"{name}/{kind.lower()}" for kind in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
        os.environ.update(own, DO_NOT_TRACK="1", DVC_NO_ANALYTICS="1")
        found = []
        for outcome in outcomes(Path(name), chosen.seed):
            found.append(outcome)
            if not outcome.held:
                print(f"not held: {outcome.attempt.name}: {'; '.join(outcome.reasons)}", flush=True)
        Console().print(counted(found, f"disks, seed {chosen.seed}"))
    return 0 if all(outcome.held for outcome in found) else 1


if __name__ == "__main__":
    sys.exit(main())
