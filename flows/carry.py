"""What a clone lacks of the project it comes from: changes that are not committed, files that git does not know yet, the teacher's file."""

import shutil
from pathlib import Path

from slimline.report.working_tree import uncommitted


def carry_changes(project: Path, folder: Path) -> None:
    """Make the clone hold what the project's working tree holds: also new files, but none that git ignores."""
    for name in uncommitted(project):
        _copy(project / name, folder / name)


def lend_teacher(project: Path, folder: Path, source: str) -> None:
    """Link a teacher's or net's file or folder inside the project (`file:PATH`, `hf:PATH`) into the clone, where git ignores it:

    by the clone's own list too, since a pattern for folders (`net/`) does not match a link, and the link is no change of the code.
    """
    kind, _, place = source.partition(":")
    inside = Path(place)
    if kind not in ("file", "hf") or inside.is_absolute() or ".." in inside.parts:
        return
    if (project / inside).exists() and not (folder / inside).exists():
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).symlink_to((project / inside).resolve())
        with (folder / ".git/info/exclude").open("a", encoding="utf-8") as ignored:
            ignored.write(f"/{inside.as_posix()}\n")


def _copy(source: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if source.is_symlink() or source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    elif source.is_dir():  # a repository of its own inside the project, which git names without its files
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".git"))
