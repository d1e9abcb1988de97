"""What a benchmark keeps from call to call: a result's cost, and a checksum of what it is of. Changed parameters or tools are no result."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handover import PROJECT
from measuring import Cost

from slimline.artifact.json_file import read_json
from slimline.params import VARIANT_SECTIONS

COSTS = Path("costs")
NOT_OF_A_VARIANT = (*VARIANT_SECTIONS, "deploy")


def stage_checksum(raw: Mapping[str, Any], lineage: Iterable[str], workloads: Path) -> str:
    """Of what a stage's result is: params.yaml, of whose variants only those of its lineage, and the workload's own code."""
    entries = {name: config for section in VARIANT_SECTIONS for name, config in raw.get(section, {}).items()}
    general = {name: value for name, value in raw.items() if name not in NOT_OF_A_VARIANT}
    told = {"general": general, "lineage": [(name, entries[name]) for name in lineage if name in entries]}
    return _checksum(json.dumps(told, sort_keys=True).encode(), *(path.read_bytes() for path in sorted(workloads.glob("*.py"))))


def tool_checksum(teacher: str, script: Path, packages: Iterable[str]) -> str:
    """Of what a tool's result is: the teacher's checksum, the script and the packages."""
    return _checksum(teacher.encode(), script.read_bytes(), *(package.encode() for package in packages))


def kept_cost(path: Path, of: str) -> Cost | None:
    """What a result cost; None where there is none, or where it is of something else."""
    found = read_json(path) if path.is_file() else {}
    return Cost(**found["cost"]) if found.get("of") == of else None


def keep_cost(path: Path, of: str, cost: Cost) -> None:
    """Write down a result that was made just now, and by which commit."""
    told = {"of": of, "commit": commit(), "cost": asdict(cost)}
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")


def commits() -> list[str]:
    """By which commits the kept stages of the project that this process is in were made."""
    return sorted({read_json(path)["commit"] for path in COSTS.glob("*.json")})


def commit() -> str:
    """The commit that this benchmark is of, 10 digits; `+` where code of the library or of its tasks differs from it."""
    changed = _git("status", "--porcelain", "--", "slimline", "tasks")
    return _git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def _checksum(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:16]
