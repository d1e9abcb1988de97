"""The page of all that stands, where a stage has failed: which variants that keeps from being judged, and the report over the others."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from flows.dag import Node
from flows.environment import state_folder
from flows.results import DONE
from flows.schedule import failure_code
from flows.stages import run_upload
from slimline.report.summary import Missing

REPORT = "report over what stands"
BESIDE = ("cache@", "harness@")
"""What is tried on a variant beside its verdict: where it fails, the verdict stands."""


def what_is_missing(
    nodes: Mapping[str, Node], states: Mapping[str, str], reasons: Mapping[str, str], deployed: Sequence[tuple[str, str]]
) -> tuple[Missing, ...]:
    """Every deployed variant that a failed stage (by `reasons`: stage -> what it said) has cost, and failed stages that cost none."""
    found = []
    for variant, target in deployed:
        failed = [name for judging in _judging(nodes, variant, target) for name in _failed_before(nodes, judging, reasons)]
        needed = [*_judging(nodes, variant, target), *_timing(nodes, target)]
        undone = [name for name in needed if states.get(name) not in DONE]
        if failed or undone:
            stage = failed[0] if failed else undone[0]
            found.append(Missing(variant, target, stage, reasons.get(stage, "it was not started")))
    told = {one.stage for one in found}
    return (*found, *(Missing(name.partition("@")[2] or name, None, name, reason) for name, reason in reasons.items() if name not in told))


def stands(nodes: Mapping[str, Node], missing: Sequence[Missing], deployed: Sequence[tuple[str, str]]) -> bool:
    """Whether anything that was judged is left."""
    gone = {(one.variant, one.target) for one in missing}
    return any(_judging(nodes, *key) and key not in gone for key in deployed)


def report_what_stands(folder: Path, missing: Sequence[Missing]) -> int:
    """Write the pages outside DVC, whose stage `report` waits for all; the exit code, 0 where they stand."""
    note = state_folder(folder) / "missing.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps([asdict(one) for one in missing], indent=2), encoding="utf-8")
    return failure_code(run_upload(REPORT, str(folder), ["-m", "tasks.standing", str(note)], return_state=True)) or 0


def _judging(nodes: Mapping[str, Node], variant: str, target: str) -> list[str]:
    """The stages that compile and evaluate a variant on a target."""
    return [name for name in nodes if name.partition("@")[2] == f"{variant}-{target}" and not name.startswith(BESIDE)]


def _timing(nodes: Mapping[str, Node], target: str) -> list[str]:
    """The stage that times all variants on a target."""
    return [name for name in nodes if name == f"time@{target}"]


def _failed_before(nodes: Mapping[str, Node], name: str, reasons: Mapping[str, str]) -> Iterator[str]:
    """The failed stages that a stage needs, itself included, the farthest first."""
    for need in nodes[name].needs:
        yield from _failed_before(nodes, need, reasons)
    if name in reasons:
        yield name
