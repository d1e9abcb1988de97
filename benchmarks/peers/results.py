"""What was measured of each workload, with its day and machine: one JSON file a day, which carries along what was not measured anew."""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimline.artifact.json_file import read_json

Seeds = Sequence[Mapping[str, Any]]
Results = Mapping[str, Mapping[str, Any]]
"""Workload -> `date` and `machine` (see slimline.measure.machine) of the first, timed seed; `seeds`: of each its rows and machine."""


def today() -> str:
    """As results are named after it."""
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def newest(folder: Path) -> Path | None:
    """The last day's file."""
    return max(folder.glob("2*.json"), default=None, key=lambda path: path.name)


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """What the last day's file has."""
    found = newest(folder)
    return dict(read_json(found)["workloads"]) if found is not None else {}


def measured_on(machine: Mapping[str, Any], seeds: Seeds, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The result of one workload; other seeds that `before` has stay, of whatever machine, if its libraries have the same versions."""
    measured = {seed["seed"]: {**seed, "machine": machine} for seed in seeds}
    stands: dict[int, Mapping[str, Any]] = {}
    if before is not None and before["machine"]["versions"] == machine["versions"]:
        stands = {seed["seed"]: {"machine": before["machine"], **seed} for seed in before["seeds"]}
    found = stands | measured
    first = min(found)
    date = today() if before is None or first in measured else before["date"]
    return {"date": date, "machine": found[first]["machine"], "seeds": [found[number] for number in sorted(found)]}


def write_results(results: Results, order: Iterable[str], folder: Path) -> tuple[Results, Path]:
    """Write today's file, its workloads in this order; and its path without a suffix."""
    ordered = {name: results[name] for name in order if name in results}
    folder.mkdir(exist_ok=True)
    path = folder / today()
    path.with_suffix(".json").write_text(json.dumps({"workloads": ordered}, indent=1, default=str), encoding="utf-8")
    return ordered, path


def where(result: Mapping[str, Any]) -> str:
    """The day and the machine in words, and which seeds are of another one."""
    machine = result["machine"]
    elsewhere = [seed for seed in result["seeds"] if seed.get("machine", machine) != machine]
    told = "".join(f"; seed {seed['seed']} on {_in_words(seed['machine'])}" for seed in elsewhere)
    return f"{result['date']}, {_in_words(machine)}{told}"


def _in_words(machine: Mapping[str, Any]) -> str:
    sets = ", ".join(name for name in machine["isa"] if "512" in name or name.startswith(("amx", "avx_vnni"))) or "AVX2 alone"
    return f"{machine['cpu']} ({sets}), {machine['cores']} cores"
