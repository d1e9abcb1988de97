"""Results of variants that params.yaml no longer has: removed before a run, so that the workspace is what a fresh clone builds.

They stay in DVC's cache: naming the variant again brings them back without work. Whatever is not known to be such a result, byte for
byte, is somebody's own: it is named and left.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.cache import Cache, hash_of, remembered
from flows.dag import Dag
from flows.heal import GOOD

VARIANT_FOLDERS = ("data/models", "data/compiled", "data/evaluated", "data/taught")
REPORT_FOLDERS = ("reports/metrics", "reports/stages")
NAMED = 5


@dataclass(frozen=True)
class Cleaned:
    """What was removed, and what no stage makes and was left; one line each."""

    removed: tuple[str, ...]
    left: tuple[str, ...]


def remove_orphans(root: Path, dag: Dag) -> Cleaned:
    """Remove what a stage made that is gone; only what the cache holds whole, so that nothing is lost."""
    cache = Cache(dag.cache)
    orphans = [path for path in _results(root) if not any(_meet(path.relative_to(root), out) for out in dag.outs)]
    gone = [path for path in orphans if _is_a_result(path, root, cache)]
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    removed = tuple(f"removed {path.relative_to(root)}: no stage makes it now" for path in gone)
    return Cleaned(removed, tuple(_left([path.relative_to(root) for path in orphans if path not in gone])))


def _results(root: Path) -> Iterator[Path]:
    for folder in VARIANT_FOLDERS:
        yield from sorted((root / folder).glob("[!.]*"))
    for folder in REPORT_FOLDERS:
        yield from sorted(path for path in (root / folder).glob("*/[!.]*") if path.is_file())


def _meet(path: Path, out: str) -> bool:
    """Whether one is the other or lies in it."""
    return path.is_relative_to(out) or Path(out).is_relative_to(path)


def _is_a_result(path: Path, root: Path, cache: Cache) -> bool:
    """Whether a stage made exactly these bytes at this path, and the cache holds them all."""
    out = path.relative_to(root).as_posix()
    known = remembered((*_locks(root), *cache.finished()), out)
    found = hash_of(path, cache) if known else None
    listing = cache.listing(found) if found in known and found else None
    return listing is not None and all(map(cache.holds, listing.values()))


def _locks(root: Path) -> Iterator[Path]:
    return (path for path in (root / "dvc.lock", root / GOOD) if path.is_file())


def _left(paths: list[Path]) -> Iterator[str]:
    """One line for each folder: these are told at every run for as long as they stand there."""
    folders: dict[Path, list[str]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path.name)
    for folder, names in folders.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"left {', '.join(names[:NAMED])}{more} in {folder}: no stage is known to have made it so; move or remove it yourself"
