"""A folder of pictures: what stands in it, checked file by file before anything is cut."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.artifact.border import told_as
from slimline.data.preprocessing import upright
from slimline.errors import DataError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
"""Folder names that say which split their pictures belong to."""
MOST_PIXELS = 50_000_000
"""A picture that unpacks to more is taken for a decompression bomb."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Picture:
    """One file: where it is, what it shows, which split it was put in (None: we cut), its content's sha256, size and mode."""

    path: str
    label: str
    split: str | None
    content: str
    size: tuple[int, int]
    mode: str


@dataclass(frozen=True)
class Found:
    """All pictures of a folder, one of each content; how many more had the same content, and the class names in order."""

    pictures: tuple[Picture, ...]
    duplicates: int
    labels: tuple[str, ...]

    @property
    def is_split(self) -> bool:
        """Whether the folder says which pictures are for training and which for test."""
        return self.pictures[0].split is not None


def find_pictures(folder: Path) -> Found:
    """Every picture below a folder of classes, or of train, validation and test with classes in them.

    Raises:
        DataError: nothing there, one class, files that are no pictures or cannot be read, one picture in two classes or in two splits; all
            problems together.
    """
    if not folder.is_dir():
        raise DataError(f"params.yaml: data.path: {folder} is no folder; give a folder with a folder a class")
    return found_of(folder, _files(folder), f"holds no picture in a folder of its own class ({', '.join(sorted(ENDINGS))})")


def found_of(folder: Path, files: Iterable[tuple[str, str, str | None]], none: str) -> Found:
    """Every picture of a list of (path, class, split), read and held against the others; `none` says what an empty list means.

    Raises:
        DataError: as `find_pictures` says.
    """
    pictures, problems = _read_all(files)
    if not pictures and not problems:
        raise DataError(f"params.yaml: data.path: {folder} {none}")
    problems += _problems(folder, pictures)
    if problems:
        raise DataError("\n".join(problems))
    unique = {picture.content: picture for picture in reversed(pictures)}
    kept = tuple(sorted(unique.values(), key=lambda picture: picture.path))
    return Found(kept, len(pictures) - len(kept), tuple(sorted({picture.label for picture in kept})))


def encoded(pictures: Iterable[Picture], labels: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows of a split, one picture after another: its bytes as they are in its file, and the index of its class."""
    index = {label: place for place, label in enumerate(labels)}
    for picture in pictures:
        yield {"image": {"bytes": Path(picture.path).read_bytes(), "path": None}, "label": index[picture.label]}


def _files(folder: Path) -> Iterator[tuple[str, str, str | None]]:
    """Every picture's path, class and split; the split's folder stands above that of the class."""
    parts = [child for child in folder.iterdir() if child.is_dir()]
    is_split = any(SPLIT_FOLDERS.get(child.name.lower()) == "train" and (len(parts) > 1 or _folders(child)) for child in parts)
    for path in sorted(_below(folder), key=lambda path: path.replace(os.sep, "\0")):
        inside = Path(path).relative_to(folder).parts
        split = SPLIT_FOLDERS.get(inside[0].lower()) if is_split else None
        if is_split and split is None:
            continue
        if len(inside) > (2 if is_split else 1):
            yield path, inside[1] if is_split else inside[0], split


def _folders(folder: Path) -> list[str]:
    """The folders in a folder that hold pictures."""
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and next(_below(child), None)) if folder.is_dir() else []


def _first_of_several(folder: Path) -> Path | None:
    """The folder itself, or the first in it on the way down, that holds several folders of pictures."""
    while len(names := _folders(folder)) == 1:
        folder /= names[0]
    return folder if names else None


def _below(folder: Path) -> Iterator[str]:
    """The pictures' paths, as text: there may be a million, and a `Path` is many times as large."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name).removeprefix(f".{os.sep}")  # noqa: PTH118 - Path(…) is what is too large
            if os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".") and os.path.isfile(path):  # noqa: PTH113, PTH122
                yield path


def _read_all(files: Iterable[tuple[str, str, str | None]]) -> tuple[list[Picture], list[str]]:
    pictures, broken = [], []
    for path, label, split in files:
        try:
            pictures.append(_read(path, label, split))
        except DataError as error:
            broken.append(str(error))
    more = f" (and {len(broken) - SHOWN} more)" if len(broken) > SHOWN else ""
    return pictures, [*broken[: SHOWN - 1], f"{broken[SHOWN - 1]}{more}"] if len(broken) >= SHOWN else broken


def _read(path: str, label: str, split: str | None) -> Picture:
    """A picture from its file.

    Raises:
        DataError: it cannot be read, or unpacks to too much.
    """
    from PIL import Image

    with told_as(lambda reason: DataError(f"{path}: is no readable picture: {reason}; mend or remove it")), Image.open(path) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise DataError(f"{path}: unpacks to {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}; scale it down")
        pixels = upright(picture, "RGB")
    digest = hashlib.sha256(pixels.tobytes() + str(pixels.size).encode()).hexdigest()
    return Picture(path, label, split, digest, pixels.size, picture.mode)


def _problems(folder: Path, pictures: list[Picture]) -> list[str]:
    labels = Counter(picture.label for picture in pictures)
    problems = []
    if len(labels) == 1:
        label = next(iter(labels))
        inner = _first_of_several(folder / label)
        meant = f"; or is it {inner}, which holds several folders?" if inner else ""
        problems.append(f"params.yaml: data.path: {folder} holds one class, {label!r}; give a folder for each of two or more{meant}")
    least = 1 if any(picture.split for picture in pictures) else 4
    problems += [
        f"params.yaml: data.path: class {label!r} has {count} {'picture' if count == 1 else 'pictures'}; give at least {least}, one a split"
        for label, count in sorted(labels.items())
        if count < least
    ]
    return [*problems, *_twice(pictures)]


def _twice(pictures: list[Picture]) -> Iterator[str]:
    """The same picture in two classes or in two splits."""
    same: Mapping[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        same[picture.content].append(picture)
    for group in same.values():
        first = group[0]
        for other in group[1:]:
            if other.label != first.label:
                yield f"{other.path}: is the same picture as {first.path}, in another class; keep the right one"
                break
            if other.split != first.split:
                yield f"{other.path}: is the same picture as {first.path}, in another split, so that test would know it; remove one"
                break
