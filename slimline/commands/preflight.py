"""What a run needs and could otherwise miss after hours: room on the disks, memory, a store that takes releases, a key that signs them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from slimline.errors import DiskError, InputError, MachineError, SlimlineError
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
        InputError: something is wrong that the user gave: the store's address or key, the signing key; all that is missing, a line each.
        MachineError: nothing but room, memory or the store's answer is missing.
    """
    problems = [*_of_disks(places, results_bytes), *_of_memory(jobs), *(_of_publishing(project, publish) if publish else ())]
    if problems:
        kind = InputError if any(isinstance(one, InputError) for one in problems) else MachineError
        raise kind("\n".join(map(str, problems)))


def _of_disks(places: Sequence[Path], results_bytes: int) -> Iterator[SlimlineError]:
    needed = LEAST_BYTES + COPIES * results_bytes
    for place in {one.stat().st_dev: one for one in reversed(places)}.values():
        if (free := psutil.disk_usage(str(place)).free) < needed:
            text = f"disk: {free:,} bytes are free below {place}, this run writes about {needed:,}; free some, e.g. by dvc gc --workspace"
            yield DiskError(text)


def _of_memory(jobs: int) -> Iterator[SlimlineError]:
    available, needed = psutil.virtual_memory().available, jobs * MEMORY_BYTES
    if available < needed:
        text = f"memory: {available:,} bytes are available, {jobs} stages at once take {needed:,}; end other programs, or take fewer --jobs"
        yield MachineError(text)


def _of_publishing(project: Path, publish: PublishParams) -> Iterator[SlimlineError]:
    from slimline.storage.probe import probe_store
    from slimline.storage.signing import signer_of

    for tried in (lambda: probe_store(project, publish), lambda: signer_of(os.environ)):
        try:
            tried()
        except SlimlineError as error:
            yield type(error)(f"{error}; nothing was run: slimline run --no-publish publishes nothing")
