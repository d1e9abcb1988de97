"""What a run needs that not every machine has, the queue of the work pool for it, and whether this machine is one that has it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.peaks import peaks
from slimline.commands.check import sections
from slimline.params import Params

GPU, BIG_MEMORY, DEFAULT = "gpu", "big-memory", "default"
QUEUES = {GPU: 1, BIG_MEMORY: 2, DEFAULT: 3}
"""Name -> priority: a worker of several takes from the rarest first."""
BIG_MEMORY_BYTES = 16 << 30
"""A stage that takes more goes to `big-memory`; so much a machine of the queue `default` is expected to have."""
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""Of NVIDIA, AMD and WSL: without any of them nobody has to import torch to know that there is no GPU."""


@dataclass(frozen=True)
class Needs:
    """Where the params ask for `device: cuda`, and the most that a stage of them is known to take."""

    gpu: tuple[str, ...] = ()
    memory_bytes: int = 0

    @property
    def queue(self) -> str:
        """The queue of a run with these needs."""
        if self.gpu:
            return GPU
        return BIG_MEMORY if self.memory_bytes > BIG_MEMORY_BYTES else DEFAULT


def needs_of(params: Params, project: Path, file: str, stages: Collection[str] | None = None) -> Needs:
    """What the `stages` need, all where none are named; memory as it was measured on this machine."""
    asked = [place for place, section in sections(params) if getattr(section, "device", "auto") == "cuda"]
    measured = {stage: found for stage, found in peaks(project, file).items() if stages is None or stage in stages}
    gpu = tuple(place for place in asked if stages is None or not _stages_of(place).isdisjoint(stages))
    return Needs(gpu, max(measured.values(), default=0))


def lacking(needs: Needs, file: str) -> Iterator[str]:
    """A line for each thing that this machine has not."""
    there = f"slimline send --params {file} gives it to a machine of the queue {needs.queue}"
    if needs.gpu and (reason := why_no_gpu()):
        yield f"{file}: {', '.join(f'{place}.device' for place in needs.gpu)}: cuda: {reason}; {there}"
    if needs.memory_bytes > (total := psutil.virtual_memory().total):
        yield f"{file}: a stage takes {needs.memory_bytes:,} bytes of memory, this machine has {total:,}; {there}"


def own_queues() -> tuple[str, ...]:
    """The queues that this machine can serve."""
    has_gpu = why_no_gpu() is None
    has_memory = psutil.virtual_memory().total > BIG_MEMORY_BYTES
    return (*([GPU] if has_gpu else []), *([BIG_MEMORY] if has_memory else []), DEFAULT)


def why_no_gpu() -> str | None:
    """Why nothing can be trained on a GPU here; None where it can."""
    if not any(device.exists() for device in GPU_DEVICES):
        return "this machine has no GPU"
    from slimline.training.device import why_no_gpu as torch_finds_none

    return torch_finds_none()


def _stages_of(place: str) -> set[str]:
    """The names that the stage of a section can have: prune.half -> prune@half, teacher -> teacher."""
    parts = place.split(".")
    return {parts[0], "@".join(parts[:2])}
