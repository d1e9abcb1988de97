"""DVC's cache and lock, read without DVC: what a path was made of, and whether an object still is what its name says.

DVC believes an object by its name once it has written it (it is read-only from then on); a disk does not.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

CHUNK_BYTES = 1 << 20
FOLDER = ".dir"
"""How the name of an object ends that lists a folder."""
Listing = Mapping[str, str]
"""Relative path -> md5 of every file of a folder; of a single file {"": md5}."""
_OUTS = re.compile(r"^( *)outs:\n(?:\1(?:- |  ).*\n)*", re.MULTILINE)
_OUTPUT = re.compile(r"^ *- path: (.+)\n +hash: md5\n +md5: ([0-9a-f]{32}(?:\.dir)?)$", re.MULTILINE)


@dataclass(frozen=True)
class Cache:
    """A cache of DVC: `objects` by their md5, and the run cache, which knows what each finished stage made."""

    folder: Path

    def path(self, md5: str) -> Path:
        """Where an object stands."""
        return self.folder / "files/md5" / md5[:2] / md5[2:]

    def holds(self, md5: str) -> bool:
        """Whether an object is there and whole."""
        return self.path(md5).is_file() and md5_of(self.path(md5)) == md5.removesuffix(FOLDER)

    def listing(self, md5: str) -> Listing | None:
        """The files that an object stands for; None where a folder's list is gone or damaged."""
        if not md5.endswith(FOLDER):
            return {"": md5}
        if not self.holds(md5):
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(self.path(md5).read_text(encoding="utf-8"))}

    def drop(self, md5: str) -> bool:
        """Remove an object unless it is whole; whether one was removed."""
        path = self.path(md5)
        if not path.exists() or self.holds(md5):
            return False
        path.unlink()
        return True

    def finished(self) -> tuple[Path, ...]:
        """The run cache's entries, one for each stage, inputs and outputs that were ever seen together."""
        return tuple(sorted((self.folder / "runs").glob("*/*/*")))


def lock_text(root: Path) -> str:
    """dvc.lock as it stands; empty where there is none."""
    path = root / "dvc.lock"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def made(text: str) -> Iterator[tuple[str, str]]:
    """(path, hash) of each output in a dvc.lock, a part of one or a run cache's entry, all of DVC's own writing.

    Reading the whole of a dvc.lock as YAML takes half a second.
    """
    for outs in _OUTS.finditer(text):
        for path, md5 in _OUTPUT.findall(outs[0]):
            yield str(yaml.safe_load(path)), md5


def made_bytes(lock: str, stages: Iterable[str]) -> int:
    """What the outputs of these stages took, as a dvc.lock says."""
    wanted = set(stages)
    found = re.finditer(r"^  (['\"]?)(\S+)\1:\n((?:    .*\n|\s*\n)*)", lock, re.MULTILINE)
    outs = (part[0] for one in found if one[2] in wanted for part in _OUTS.finditer(one[3]))
    return sum(int(size) for text in outs for size in re.findall(r"^ +size: (\d+)$", text, re.MULTILINE))


def made_by(lock: str, stage: str) -> dict[str, str]:
    """Path -> hash of what one stage made, by the text of a dvc.lock; empty where it does not know the stage."""
    section = re.search(rf"^  (['\"]?){re.escape(stage)}\1:\n((?:    .*\n|\s*\n)*)", lock, re.MULTILINE)
    return dict(made(section[2])) if section else {}


def remembered(entries: tuple[Path, ...], out: str) -> set[str]:
    """The hashes that a path had whenever a stage made it, by entries of the run cache. A damaged entry knows nothing."""
    texts = (entry.read_text(encoding="utf-8", errors="replace") for entry in entries)
    return {md5 for text in texts if out in text for path, md5 in made(text) if path == out}


def hash_of(path: Path, cache: Cache) -> str | None:
    """The hash that DVC would give a file or folder; None for what it holds no bytes of: links to elsewhere, sockets."""
    if path.is_symlink() and not _leads_into(path, cache):
        return None
    if path.is_file():
        return md5_of(path)
    files = files_of(path)
    hashes = [hash_of(file, cache) for file in files]
    if not path.is_dir() or None in hashes:
        return None
    entries = [{"md5": md5, "relpath": file.relative_to(path).as_posix()} for file, md5 in zip(files, hashes, strict=True)]
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + FOLDER


def files_of(folder: Path) -> list[Path]:
    """Everything below a folder that is no folder, in DVC's order."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def md5_of(path: Path) -> str:
    """DVC's checksum of a file, read in pieces."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _leads_into(path: Path, cache: Cache) -> bool:
    return path.is_file() and path.resolve().is_relative_to(cache.folder.resolve())
