"""What somebody laid into the folder of a stage: moved aside before DVC removes that folder, which it does before a stage runs."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from flows.cache import Cache, files_of, hash_of, lock_text, made_by
from flows.dag import Dag, Node
from flows.environment import state_folder


def keep_foreign(root: Path, project: Path, dag: Dag) -> tuple[str, ...]:
    """Move files that no cache holds out of the folders that stages make, and say where they are now, one line each."""
    cache, lock = Cache(dag.cache), lock_text(root)
    kept = state_folder(project) / "kept" / time.strftime("%Y-%m-%dT%H-%M-%S")
    lines = []
    for node in dag.nodes.values():
        for path in _foreign(root, node, cache, lock):
            target = kept / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            lines.append(
                f"moved {path.relative_to(root)} to {target.relative_to(project)}: {node.name} makes that folder and did not make it"
            )
    return tuple(lines)


def _foreign(root: Path, node: Node, cache: Cache, lock: str) -> Iterator[Path]:
    """The files of altered folders that are neither what the stage last made nor in the cache."""
    known = made_by(lock, node.name)
    for out in node.altered:
        path = root / out
        if not path.is_dir() or path.is_symlink() or (out in known and hash_of(path, cache) == known[out]):
            continue
        yield from (file for file in files_of(path) if not _is_cached(file, cache))


def _is_cached(file: Path, cache: Cache) -> bool:
    md5 = hash_of(file, cache)
    return md5 is not None and cache.path(md5).is_file()
