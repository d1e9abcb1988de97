"""Documents to learn a language from: a folder of text files, one file, a table's column of texts, or Python's own standard library."""

import hashlib
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimline.errors import DataError
from slimline.params import DataParams
from slimline.workloads.records import pieces
from slimline.workloads.table import SPLITS

TABLES = (".csv", ".parquet")
LIBRARY_BYTES = 3_000_000
"""How much of the standard library is read where no text was named."""
LONGEST_MODULE_BYTES = 30_000
"""Of the standard library: else one module is most of a split, and documents are what intervals resample."""
LEFT_OUT = ("test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "encodings", "__pycache__")
FEW, PARTS = 10, 40
"""Fewer documents than FEW are cut into about PARTS together, at empty lines."""
LEAST_BYTES = 20_000
"""Less text than this teaches and shows nothing."""
LONGEST_BYTES = 50_000_000
"""Of one document: it is read whole."""
BYTES_A_TOKEN = 4
"""About; of English."""
MOST_PROBLEMS = 10
"""Files that are named at a time."""


@dataclass(frozen=True)
class Documents:
    """Where the texts come from, and what is in them; equal texts are taken once."""

    where: str
    texts: tuple[str, ...]
    duplicates: int
    is_cut: bool

    @property
    def size_bytes(self) -> int:
        """Of all texts as UTF-8."""
        return sum(len(text.encode()) for text in self.texts)


def find_documents(options: DataParams) -> Documents:
    """All documents of `data.path`, in an order that depends on their names alone.

    Raises:
        DataError: there are none, or they are no text; all problems together.
    """
    path = Path(options.path)
    if options.path == DataParams().path:
        return _checked(f"the standard library of Python {sysconfig.get_python_version()}", list(_library()))
    if path.suffix.lower() in TABLES and not path.is_dir():
        return _checked(str(path), list(_column(path, options.text)))
    if not path.exists():
        raise DataError(f"params.yaml: data.path: no folder or file {path}; give a folder of text files, one text file, or a table")
    return _checked(str(path), _files(path))


def cut_documents(found: Documents, options: DataParams, seed: int) -> Mapping[str, Sequence[int]]:
    """The numbers of each split's documents, drawn at random so that splits have their share of the bytes.

    The calibration split gets as much as `calibration_samples` windows take, at most a tenth of what test and validation leave.

    Raises:
        DataError: a split would hold none.
    """
    sizes = [len(text.encode()) for text in found.texts]
    left = 1 - options.test_fraction - options.validation_fraction
    if left < 0.1:
        raise DataError("params.yaml: data: test and validation leave too little to train on; make them smaller")
    calibration = min(options.calibration_samples * options.window * BYTES_A_TOKEN / sum(sizes), left / 10)
    shares = {"test": options.test_fraction, "validation": options.validation_fraction, "calibration": calibration, "train": 1.0}
    waiting = [int(number) for number in np.random.default_rng(seed).permutation(len(sizes))]
    cut: dict[str, list[int]] = {}
    for split, share in shares.items():
        taken: list[int] = []
        while waiting and sum(sizes[number] for number in taken) < share * sum(sizes):
            taken.append(waiting.pop())
        cut[split] = taken
    if lacking := [split for split in SPLITS if not cut[split]]:
        raise DataError(f"{found.where}: {len(sizes)} documents, and the split {lacking[0]} would hold none; raise its share, or give more")
    return cut


def _checked(where: str, texts: Sequence[str]) -> Documents:
    """Texts without the empty and the equal ones; few of them in parts.

    Raises:
        DataError: too little is left.
    """
    filled = [text for text in texts if text.strip()]
    unique = list({hashlib.sha256(text.encode()).digest(): text for text in filled}.values())
    parts = unique if len(unique) >= FEW else [part for text in unique for part in _parts(text, sum(map(len, unique)) // PARTS)]
    found = Documents(where, tuple(parts), len(filled) - len(unique), len(parts) != len(unique))
    if found.size_bytes < LEAST_BYTES:
        raise DataError(f"{where}: holds {found.size_bytes:,} bytes of text; a language model needs {LEAST_BYTES:,} or more; give it more")
    return found


def _parts(text: str, size: int) -> Iterator[str]:
    """A text in parts of about `size` characters, cut at empty lines where there are any."""
    start = 0
    while start < len(text):
        end = min(start + max(size, 1), len(text))
        if end < len(text):
            found = max(text.rfind("\n\n", start, end), text.rfind("\n", start, end))
            end = found + 1 if found > start + size // 2 else end
        yield text[start:end]
        start = end


def _files(path: Path) -> list[str]:
    """The texts of a folder's files, or of one file; hidden ones are left out.

    Raises:
        DataError: a file is no UTF-8 text, or too long.
    """
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file() and not _is_hidden(one.relative_to(path)))
    if not files:
        raise DataError(f"{path}: holds no file; give a folder of text files, one text file, or a .csv or .parquet table")
    texts, problems = [], []
    for file in files:
        if file.stat().st_size > LONGEST_BYTES:
            problems.append(f"{file}: {file.stat().st_size:,} bytes; a document has at most {LONGEST_BYTES:,}; cut it into files")
            continue
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problems.append(f"{file}: is no UTF-8 text (byte {error.start}); save it as UTF-8, or take it out of the folder")
            continue
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}")
            continue
        if "\0" in text:
            problems.append(f"{file}: holds zero bytes, so it is no text; take it out of the folder")
        texts.append(text)
    if problems:
        more = [f"… and {len(problems) - MOST_PROBLEMS} more files"] if len(problems) > MOST_PROBLEMS else []
        raise DataError("\n".join([*problems[:MOST_PROBLEMS], *more]))
    return texts


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _column(path: Path, column: str | None) -> Iterator[str]:
    for piece in pieces(path):
        names = [str(name) for name in piece.columns]
        if column not in names:
            raise DataError(f"params.yaml: data.text: {column!r} is no column of {path}; it has: {', '.join(names)}")
        yield from (cell for cell in piece[column] if isinstance(cell, str))


def _library() -> Iterator[str]:
    """Modules of the standard library, each a document, spread over the whole of it."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in root.rglob("*.py") if not set(path.relative_to(root).parts) & set(LEFT_OUT))
    order = sorted(files, key=lambda path: hashlib.sha256(str(path.relative_to(root)).encode()).digest())
    total = 0
    for path in order:
        if path.stat().st_size > LONGEST_MODULE_BYTES:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        total += len(text)
        if total > LIBRARY_BYTES:
            return
        yield text
