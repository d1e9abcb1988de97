"""What a run needs and could otherwise miss after hours: room on the disks, memory, a store that takes what is to be released."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from slimline.errors import InputError, SlimlineError
from slimline.params import PublishParams

LEAST_BYTES = 32 << 20
"""What a run writes beside its results: logs, Prefect's database, drafts of pages."""
COPIES = 2
"""A result stands in the workspace and in DVC's cache."""
MEMORY_BYTES = 600 << 20
"""One stage that has imported torch and the runtimes."""


def preflight(project: Path, publish: PublishParams | None, *, places: Sequence[Path], results_bytes: int, jobs: int) -> None:
    """Check the disks of `places`, the memory for so many stages at once, and, where something is to be published, a write to the store.

    `results_bytes` is what the results of the stages to be run took last time, 0 where they never ran. git, DVC and the runtimes of the
    deployed targets have been looked at before: `slimline check` and DVC's graph come first.

    Raises:
        InputError: something is missing; all of it, a line each.
    """
    problems = [*_of_disks(places, results_bytes), *_of_memory(jobs), *(_of_store(project, publish) if publish else ())]
    if problems:
        raise InputError("\n".join(problems))


def _of_disks(places: Sequence[Path], results_bytes: int) -> Iterator[str]:
    needed = LEAST_BYTES + COPIES * results_bytes
    for place in {one.stat().st_dev: one for one in reversed(places)}.values():
        if (free := psutil.disk_usage(str(place)).free) < needed:
            yield f"disk: {free:,} bytes are free below {place}, this run writes about {needed:,}; free some, e.g. by dvc gc --workspace"


def _of_memory(jobs: int) -> Iterator[str]:
    available, needed = psutil.virtual_memory().available, jobs * MEMORY_BYTES
    if available < needed:
        yield f"memory: {available:,} bytes are available, {jobs} stages at once take {needed:,}; end other programs, or take fewer --jobs"


def _of_store(project: Path, publish: PublishParams) -> Iterator[str]:
    from slimline.storage.probe import probe_store

    try:
        probe_store(project, publish)
    except SlimlineError as error:
        yield f"{error}; nothing was run: slimline run --no-publish runs without a store"
