"""Energy from RAPL, the processor's own counters, where the machine lets one read them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slimline.errors import StageError

POWERCAP = Path("/sys/class/powercap")
MICROJOULES_PER_MILLIJOULE = 1000


@dataclass(frozen=True)
class Energy:
    """Millijoules a call, or None; the reason says what the figure holds or why there is none."""

    millijoules: float | None
    reason: str


def energy_per_call(work: Callable[[], int], powercap: Path = POWERCAP) -> Energy:
    """Measure `work`, which runs for some tenths of a second and returns how many calls it made.

    The figure is that of whole processor packages, whatever else they did meanwhile. Without counters, work is not run.
    """
    packages = sorted(path for path in powercap.glob("intel-rapl:*") if path.name.count(":") == 1 and (path / "energy_uj").exists())
    if not packages:
        return Energy(None, f"no energy counter: {powercap} has no intel-rapl package (usual on virtual machines)")
    try:
        before = [_read(package / "energy_uj") for package in packages]
        calls = work()
        after = [_read(package / "energy_uj") for package in packages]
    except PermissionError:
        return Energy(None, f"the energy counters below {powercap} are readable by root only")
    spent = sum(_spent(package, first, last) for package, first, last in zip(packages, before, after, strict=True))
    if spent <= 0:
        return Energy(None, f"the energy counters below {powercap} stood still")
    return Energy(spent / calls / MICROJOULES_PER_MILLIJOULE, f"RAPL, {len(packages)} package(s), all that ran meanwhile included")


def _spent(package: Path, first: int, last: int) -> int:
    return last - first if last >= first else last - first + _read(package / "max_energy_range_uj")


def _read(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except ValueError:
        raise StageError(f"{path}: holds no number") from None
