"""Damage to what a run leans on besides its results: dvc.lock, locks, notes, Prefect's database, the clock; and two runs at once.

    python benchmarks/faults/state.py --seed 0 --tries 40

Each try damages a copy of the tiny project of tests/flow, whose stages had all run, takes its results away, and runs the flow with a
Prefect server of its own. Afterwards every result is right, `dvc status` is clean, and no lock is held.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cache import MODELS, finished, lost
from tries import Try, all_tried

from flows.lock import is_held
from slimline.errors import SlimlineError

YEAR_S = 365 * 86400
Damage = Callable[[Path, random.Random], object]


def garbage(path: Path, chance: random.Random) -> None:
    """Bytes that are nothing, also no text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\x00{" + chance.randbytes(chance.randrange(1, 400)))


def torn(path: Path, chance: random.Random) -> None:
    """The beginning of what was there."""
    body = path.read_bytes()
    path.write_bytes(body[: chance.randrange(1, len(body))])


def dead_holder(root: Path) -> None:
    """DVC's lock of paths in the name of a process that is no more."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    held = {"write": {str(root / "data/models/teacher"): {"pid": gone.pid, "cmd": "dvc repro teacher"}}}
    (root / ".dvc/tmp").mkdir(exist_ok=True)
    (root / ".dvc/tmp/rwlock").write_text(json.dumps(held))


def moved_clock(root: Path, chance: random.Random, years: int) -> None:
    """Every file was written in another year, as after a jump of the clock."""
    when = time.time() + years * YEAR_S + chance.randrange(86400)
    for path in (path for top in ("tasks", "data", "dvc.yaml", "params.yaml") for path in (root / top, *(root / top).rglob("*"))):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (when, when))


DAMAGES: dict[str, Damage] = {
    "dvc.lock torn": lambda root, chance: torn(root / "dvc.lock", chance),
    "dvc.lock garbage": lambda root, chance: garbage(root / "dvc.lock", chance),
    "rwlock garbage": lambda root, chance: garbage(root / ".dvc/tmp/rwlock", chance),
    "rwlock of a dead process": lambda root, _: dead_holder(root),
    "rwlock of another shape": lambda root, _: (root / ".dvc/tmp/rwlock").write_text('{"data": {"write": {}, "read": []}}'),
    "workspace lock garbage": lambda root, chance: garbage(root / ".dvc/tmp/slimline.lock", chance),
    "Prefect's database garbage": lambda root, chance: garbage(root / ".slimline/prefect/prefect.db", chance),
    "Prefect's database empty": lambda root, _: garbage(root / ".slimline/prefect/prefect.db", random.Random(0)),
    "notes garbage": lambda root, chance: [
        garbage(root / ".slimline" / name, chance) for name in ("finished.json", "durations.json", "running/1.json", "services.json")],
    "files of next year": lambda root, chance: moved_clock(root, chance, 1),
    "files of 40 years ago": lambda root, chance: moved_clock(root, chance, -40),
}  # fmt: skip


def mended(root: Path, damage: str, seed: int) -> None:
    """Damage it, run, and see that all is well."""
    DAMAGES[damage](root, random.Random(seed))
    lost(root)
    done = _started(root)
    _well(root, {done.wait(): 0}, done)


def together(root: Path, seed: int) -> None:
    """Two runs a moment apart: one does the work, the other waits for nothing and says that it is busy, or comes after."""
    lost(root)
    first = _started(root)
    time.sleep(random.Random(seed).uniform(0, 6))
    second = _started(root)
    codes = sorted((first.wait(), second.wait()))
    if codes not in ([0, 0], [0, 1]):
        raise SlimlineError(f"the two runs ended with {codes}")
    _well(root, {0: 0}, first)


def _started(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "flows.compress", "--no-publish"], cwd=root)


def _well(root: Path, codes: dict[int, int], run: subprocess.Popen[bytes]) -> None:
    """The run's exit code, every result, DVC's opinion, and the lock."""
    if any(code != wanted for code, wanted in codes.items()):
        raise SlimlineError(f"the run ended with {run.returncode}")
    wrong = [name for name in MODELS if (root / "data/models" / name / "model").read_text() != name]
    status = subprocess.run([sys.executable, "-m", "dvc", "status"], cwd=root, capture_output=True, text=True, check=False).stdout
    if wrong or "up to date" not in status:
        raise SlimlineError(f"wrong after the run: {wrong}; {' '.join(status.split())[:200]}")
    if is_held(root):
        raise SlimlineError("the workspace is locked still")


def attempts(folder: Path, seed: int, tries: int) -> Iterator[Try]:
    """Every damage in turn, with other bytes each time, and two runs at once."""
    every = [*DAMAGES, "two runs at once"]
    for number in range(tries):
        name, root = every[(seed + number) % len(every)], folder / f"{seed}-{number}"
        shutil.copytree(folder / "finished", root, symlinks=True)
        run = partial(mended, root, name, seed + number) if name in DAMAGES else partial(together, root, seed + number)
        yield Try(name, f"seed {seed + number}", run, cwd=root, codes=(0,), limit_s=240)
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    """Run the tries and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=24)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimline-state-") as name:
        folder = Path(name)
        for variable in [one for one in os.environ if one.startswith(("PREFECT_", "SLIMLINE_"))]:
            del os.environ[variable]
        own = {f"DVC_{kind}": str(folder / kind.lower()) for kind in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
        os.environ.update(own, DO_NOT_TRACK="1", DVC_NO_ANALYTICS="1")
        finished(folder)
        return all_tried(attempts(folder, chosen.seed, chosen.tries), heading=f"state, clock, two runs, seed {chosen.seed}")


if __name__ == "__main__":
    sys.exit(main())
