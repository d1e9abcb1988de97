"""What a disk damaged: found by comparing bytes with the checksums of dvc.lock and of manifests, dropped, and made again.

DVC restores an object without reading it, and takes a file that looks untouched for what it was. So a restored stage is read once,
and everything is when a stage fails or a release is refused; nothing is where nothing happened.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.cache import Cache, files_of, hash_of, lock_text, made, made_by, md5_of, remembered
from slimline.artifact.folder import sha256_of
from slimline.artifact.json_file import read_json
from slimline.errors import ArtifactError


@dataclass(frozen=True)
class Before:
    """What DVC could restore a stage from, noted before it does: a restored file of another length changes dvc.lock with it."""

    lock: str
    finished: tuple[Path, ...]


def before(root: Path, cache: Cache) -> Before:
    """Note it."""
    return Before(lock_text(root), cache.finished())


def restored_well(root: Path, stage: str, cache: Cache, earlier: Before) -> bool:
    """Whether a stage's restored outs are, byte for byte, something that the stage had made before."""
    outs = made_by(lock_text(root), stage)
    return all(
        hash_of(root / out, cache) == md5 and (md5 in earlier.lock or md5 in remembered(earlier.finished, out)) for out, md5 in outs.items()
    )


def forget(root: Path, stage: str, cache: Cache, earlier: Before) -> tuple[str, ...]:
    """Drop the damaged objects that a stage was restored from, and what the run cache noted of it since; one line each."""
    outs = made_by(lock_text(root), stage)
    for entry in set(cache.finished()) - set(earlier.finished):
        if not outs.keys().isdisjoint(out for out, _ in made(entry.read_text(encoding="utf-8", errors="replace"))):
            _forget_entry(entry)
    known = {md5 for out in outs for md5 in remembered(earlier.finished, out)} | set(made_by(earlier.lock, stage).values())
    listings = [cache.listing(md5) or {} for md5 in sorted(known)]
    return tuple(_dropped((*sorted(known), *(md5 for listing in listings for md5 in listing.values())), cache))


def mend(root: Path, cache: Cache, stages: Iterable[str]) -> tuple[str, ...]:
    """Remove damaged files of stages that DVC takes for up to date, and damaged objects behind them; one line each.

    DVC then restores the stage where its objects are whole, and runs it where they are not.
    """
    lock = lock_text(root)
    return tuple(line for stage in stages for out, md5 in made_by(lock, stage).items() for line in _mended(root, out, md5, cache))


def drop_damaged_lists(cache: Cache) -> tuple[str, ...]:
    """Drop the lists of folders that are damaged: DVC would run their stage at every run and never write the list anew."""
    names = [path.parent.name + path.name for path in sorted(cache.folder.glob("files/md5/*/*.dir"))]
    return tuple(_dropped(names, cache))


def drop_unreadable(cache: Cache) -> tuple[str, ...]:
    """Drop run cache entries that are no text, and folders without one: DVC stops there at every run. Of other damage it takes care."""
    lines = []
    for entry in cache.finished():
        try:
            entry.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            _forget_entry(entry)
            lines.append(f"dropped entry {entry.name[:12]} of the run cache, which was damaged")
    for folder in sorted((cache.folder / "runs").glob("*/*")):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            lines.append(f"dropped folder {folder.name[:12]} of the run cache, which was empty")
    return tuple(lines)


def _forget_entry(entry: Path) -> None:
    entry.unlink()
    if not any(entry.parent.iterdir()):
        entry.parent.rmdir()


def _mended(root: Path, out: str, md5: str, cache: Cache) -> Iterator[str]:
    path, listing = root / out, cache.listing(md5) or {}
    bad = [name for name, wanted in listing.items() if (path / name).is_file() and md5_of(path / name) != wanted]
    if not bad:
        bad = [name for name in _denied(path) if name in listing]
        for name in bad:  # DVC has taken a damaged file for a new one and knows it by the checksum of its damage
            cache.path(listing[name]).unlink(missing_ok=True)
    for name in bad:
        (path / name).unlink()
        yield f"removed {out}{f'/{name}' if name else ''}: its bytes were damaged; it is restored or made again"
    yield from _dropped([listing[name] for name in bad], cache)


def _denied(folder: Path) -> Iterator[str]:
    """The files of an artifact that are not what its manifest says; all of them where it cannot be read, none where it lists none."""
    if not (folder / "manifest.json").is_file():
        return
    try:
        files = dict(read_json(folder / "manifest.json").get("files", {}))
    except (ArtifactError, AttributeError, TypeError, ValueError):
        yield from (path.relative_to(folder).as_posix() for path in files_of(folder))
        return
    yield from (name for name, wanted in files.items() if (folder / name).is_file() and sha256_of(folder / name) != wanted)


def _dropped(names: Iterable[str], cache: Cache) -> Iterator[str]:
    yield from (f"dropped object {md5[:12]} from DVC's cache: its bytes were damaged" for md5 in names if cache.drop(md5))
