"""What a project's last commit does not hold of its working tree: changed and new files, and one checksum of them.

Contents decide, not git's notes of times and sizes: a file that was merely touched is the same file. What git ignores is no part of it.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from slimline.errors import SlimlineError

NOT_CODE = (
    *(f":(exclude){name}" for name in ("dvc.lock", "params.yaml", ".slimline")),
    *(f":(exclude,glob){pattern}" for pattern in ("params/*.yaml", "**/.gitignore", "**/__pycache__/**")),
)
"""What a run or DVC writes, and parameters, which have a checksum of their own."""


def uncommitted(root: Path, *without: str) -> tuple[str, ...]:
    """The names of files that differ from the last commit, and of those that git does not know; `without` are git's pathspecs.

    Raises:
        SlimlineError: what git said.
    """
    changed = _listed(root, "diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--", ".", *without)
    return (*changed, *_listed(root, "ls-files", "-z", "--others", "--exclude-standard", "--", ".", *without))


def checksum(root: Path, names: Iterable[str]) -> str:
    """16 digits of the names, contents and kinds of these files; those that are gone count too.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for name in sorted(found for given in set(names) for found in _files(root, given)):
        digest.update(f"{len(os.fsencode(name))} ".encode() + os.fsencode(name) + _content(root / name))
    return digest.hexdigest()[:16]


def _files(root: Path, name: str) -> Iterator[str]:
    """The file itself, or those of a repository inside the project, which git names without its files."""
    if not (root / name).is_dir() or (root / name).is_symlink():
        yield name
        return
    for folder, folders, files in os.walk(root / name):
        folders[:] = [one for one in folders if one != ".git"]
        yield from (os.path.relpath(Path(folder) / one, root) for one in files)


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return b"link" + hashlib.sha256(os.fsencode(path.readlink())).digest()
    if not path.is_file():
        return b"gone"
    with path.open("rb") as stream:
        return (b"program" if os.access(path, os.X_OK) else b"file") + hashlib.file_digest(stream, "sha256").digest()


def _listed(root: Path, *command: str) -> list[str]:
    done = subprocess.run(["git", *command], cwd=root, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    if done.returncode:
        raise SlimlineError(f"git {' '.join(command)}: {' '.join(done.stderr.split())}")
    return [name for name in done.stdout.split("\0") if name]
