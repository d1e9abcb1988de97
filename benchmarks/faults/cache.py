"""Damage to DVC's cache, workspace and lock, and somebody's own files among the line's: a run must mend the first and keep the second.

    python benchmarks/faults/cache.py --seed 0 --tries 30

Each try damages a copy of the tiny project of tests/flow, whose stages had all run, and runs the flow of the tree that PYTHONPATH names.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import yaml
from tries import Try, all_tried

from flows.server import free_port, server_command, wait_until_healthy
from slimline.errors import SlimlineError

TINY = Path(__file__).parents[2] / "tests/flow/tiny"
MODELS = ("teacher", "p50", "q8", "report")
Damage = Callable[[Path, random.Random], object]


def flip(path: Path, chance: random.Random, *, seen: bool = False) -> None:
    """One bit; unless `seen`, the file's times stay."""
    about, body = path.stat(), bytearray(path.read_bytes())
    body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    path.chmod(0o644)
    path.write_bytes(bytes(body))
    path.chmod(about.st_mode & 0o777)
    if not seen:
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def cut(path: Path, chance: random.Random) -> None:
    """Cut short, down to nothing."""
    body = path.read_bytes()
    path.unlink()
    path.write_bytes(body[: chance.randrange(len(body))])
    path.chmod(0o444)


def objects(root: Path, chance: random.Random, kind: str) -> Path:
    """An object that a stage made: a file of it, or the list of a folder."""
    outs = [out for stage in yaml.safe_load((root / "dvc.lock").read_text())["stages"].values() for out in stage["outs"]]
    folders = [out["md5"] for out in outs if out["md5"].endswith(".dir")]
    md5 = chance.choice(folders)
    path = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    if kind == "list":
        return path
    md5 = chance.choice(yaml.safe_load(path.read_text()))["md5"]
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def workspace(root: Path, chance: random.Random) -> Path:
    """A model in the workspace."""
    return root / "data/models" / chance.choice(MODELS) / "model"


def run_cache(root: Path, body: bytes | None) -> None:
    """Every entry of the run cache replaced, or its folder emptied; dvc.lock and the results gone, so that it is read."""
    for entry in (root / ".dvc/cache/runs").glob("*/*/*"):
        entry.unlink() if body is None else entry.write_bytes(body)
    (root / "dvc.lock").unlink()
    lost(root)


def lost(root: Path) -> None:
    """The results, as in a fresh clone."""
    for name in ("data", "reports"):
        shutil.rmtree(root / name, ignore_errors=True)


def linked(root: Path, kind: str) -> None:
    """The cache in another mode."""
    for arguments in (("config", "cache.type", kind), ("checkout", "--relink", "-q")):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)


DAMAGES: dict[str, Damage] = {
    "an object flipped, results gone": lambda root, chance: (flip(objects(root, chance, "file"), chance), lost(root)),
    "an object cut, results gone": lambda root, chance: (cut(objects(root, chance, "file"), chance), lost(root)),
    "an object gone, results gone": lambda root, chance: (objects(root, chance, "file").unlink(), lost(root)),
    "a list flipped, results gone": lambda root, chance: (flip(objects(root, chance, "list"), chance), lost(root)),
    "a list cut, results gone": lambda root, chance: (cut(objects(root, chance, "list"), chance), lost(root)),
    "a list flipped, results there": lambda root, chance: flip(objects(root, chance, "list"), chance),
    "an object flipped, lock and results gone": lambda root, chance: (
        flip(objects(root, chance, "file"), chance), (root / "dvc.lock").unlink(), lost(root)),
    "a result flipped, seen": lambda root, chance: flip(workspace(root, chance), chance, seen=True),
    "a hard link flipped, seen": lambda root, chance: (linked(root, "hardlink"), flip(workspace(root, chance), chance, seen=True)),
    "a symbolic link's object flipped, seen": lambda root, chance: (
        linked(root, "symlink"), flip(workspace(root, chance).resolve(), chance, seen=True)),
    "a run cache that is no text": lambda root, _: run_cache(root, b"\x00\xff{"),
    "a run cache that is a list": lambda root, _: run_cache(root, b"[1]\n"),
    "a run cache of empty files": lambda root, _: run_cache(root, b""),
    "a run cache of empty folders": lambda root, _: run_cache(root, None),
    "no cache": lambda root, _: shutil.rmtree(root / ".dvc/cache"),
    "no cache, no results": lambda root, _: (shutil.rmtree(root / ".dvc/cache"), lost(root)),
}  # fmt: skip
OWN = (
    "data/models/mine/weights.safetensors",
    "data/models/mine.safetensors",
    "data/models/p50/notes.md",
    "data/models/teacher/deep/own.bin",
    "data/compiled/mine-onnxruntime/model.onnx",
    "data/evaluated/table.csv",
    "data/models/.mine.settings",
    "data/.notes.markdown",
    "reports/.mine.database",
    "reports/stages/mine/page.md",
    "reports/metrics/quantize/mine.json",
)
"""Where somebody may have laid a file of their own."""


def run_flow(root: Path) -> None:
    """A whole run; its own words are the output of the try."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.compress", "--no-publish", "--json"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SlimlineError(f"the run ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")


def mended(root: Path, damage: str, seed: int) -> None:
    """Damage it, run, and see that every result is right and DVC says so."""
    DAMAGES[damage](root, random.Random(seed))
    run_flow(root)
    wrong = [name for name in MODELS if (root / "data/models" / name / "model").read_text() != name]
    status = subprocess.run([sys.executable, "-m", "dvc", "status"], cwd=root, capture_output=True, text=True, check=False).stdout
    if wrong or "up to date" not in status:
        raise SlimlineError(f"wrong after the run: {wrong}; {' '.join(status.split())[:200]}")


def kept(root: Path, own: str, *, changed: bool) -> None:
    """Lay a file there, run (with `changed`, after params were changed), and find its bytes somewhere below the project."""
    body = f"somebody's own {own}".encode()
    (root / own).parent.mkdir(parents=True, exist_ok=True)
    (root / own).write_bytes(body)
    if changed:
        (root / "params.yaml").write_text(
            (root / "params.yaml").read_text().replace("ratio: 0.5", "ratio: 0.6").replace("epochs: 1", "epochs: 2")
        )
    run_flow(root)
    digest = hashlib.sha256(body).digest()
    files = (
        path for top in ("data", "reports", ".slimline") for path in (root / top).rglob("*") if path.is_file() and not path.is_symlink()
    )
    if not any(hashlib.sha256(path.read_bytes()).digest() == digest for path in files):
        raise SlimlineError(f"{own} is gone")


def finished(folder: Path) -> Path:
    """The tiny project after a run by DVC."""
    root = folder / "finished"
    shutil.copytree(TINY, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "gitignore.txt").rename(root / ".gitignore")
    (root / "dvc.yaml.txt").rename(root / "dvc.yaml")
    dvc = [sys.executable, "-m", "dvc"]
    commit = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@example.org", "commit", "-qm", "tiny"]
    for command in (
        ["git", "init", "-q"],
        [*dvc, "init", "-q"],
        [*dvc, "config", "core.autostage", "false"],
        [*dvc, "repro", "-q"],
        ["git", "add", "-A"],
        commit,
    ):
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    return root


def attempts(folder: Path, seed: int, tries: int) -> Iterator[Try]:
    """Damages and own files, shuffled; again with other bits where more are asked for than there are."""
    every = [("mended", name) for name in DAMAGES] + [
        (f"kept{' while all changes' if changed else ''}", own) for own in OWN for changed in (False, True)
    ]
    random.Random(seed).shuffle(every)
    for number in range(tries):
        family, name = every[number % len(every)]
        root = folder / str(number)
        shutil.copytree(folder / "finished", root, symlinks=True)
        run = partial(mended, root, name, seed + number) if family == "mended" else partial(kept, root, name, changed="changes" in family)
        yield Try(family, name, run, cwd=root, codes=(0,), limit_s=180)
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    """Run the tries against one Prefect server and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=38)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = {f"DVC_{kind}": str(folder / kind.lower()) for kind in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
        os.environ.update(own, PREFECT_HOME=str(folder / "prefect"), DO_NOT_TRACK="1", DVC_NO_ANALYTICS="1")
        port = free_port()
        with (folder / "log.txt").open("wb") as log:
            server = subprocess.Popen(server_command(port), stdout=log, stderr=log)
        try:
            os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
            wait_until_healthy(os.environ["PREFECT_API_URL"], server, folder / "log.txt")
            finished(folder)
            return all_tried(attempts(folder, chosen.seed, chosen.tries), heading=f"cache and own files, seed {chosen.seed}")
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    sys.exit(main())
