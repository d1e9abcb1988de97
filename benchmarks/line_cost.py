"""Where each second of a run goes: for each kind of stage its DVC, imports, work, report and the workers that it starts, in CPU seconds.

    python benchmarks/line_cost.py PROJECT --jobs 2

runs every stage of the project in the folder PROJECT (a copy: the run is `--force --no-publish`) with a hook in every Python process of it
(line_cost_hook/sitecustomize.py), and prints a Markdown table. What no stage is (the flow, Prefect's server, the fork server and its
imports) stands below. CPU seconds say the same on a busy machine as on a quiet one, nearly: caches are shared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean
from typing import Any

HOOK = Path(__file__).with_name("line_cost_hook")


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one stage, or of its `dvc repro` alone."""

    dvc_s: float = 0.0
    imports_s: float = 0.0
    work_s: float = 0.0
    report_s: float = 0.0
    workers_s: float = 0.0


def stage_of(command: list[str]) -> tuple[str, str] | None:
    """(role, stage's kind) of a process by its command line; None for what belongs to no stage."""
    if "repro" in command:
        return "dvc", command[-1].partition("@")[0]
    modules = [word for word in command if word.startswith("tasks.")]
    return ("stage", modules[0].removeprefix("tasks.")) if modules and modules[0] != "tasks.exports" else None


def cost_of(role: str, process: Mapping[str, Any]) -> Cost:
    """What one process has cost."""
    own = process["own_s"]
    if role == "dvc":
        return Cost(dvc_s=own)
    work, report = process.get("work", own), process.get("report", own)
    return Cost(imports_s=work, work_s=report - work, report_s=own - report, workers_s=process["children_s"])


def measured(project: Path, jobs: int) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds of the run, and what each of its processes told at its end."""
    with tempfile.TemporaryDirectory() as folder:
        paths = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": paths, "SLIMLINE_LINE_COST": folder}
        command = [sys.executable, "-m", "flows.compress", "--force", "--no-publish", "--jobs", str(jobs)]
        began = time.monotonic()
        done = subprocess.run(command, cwd=project, env=environment, check=False)
        if done.returncode not in (0, 3):
            raise SystemExit(f"the run ended with {done.returncode}")
        return time.monotonic() - began, [json.loads(path.read_text()) for path in sorted(Path(folder).iterdir())]


def by_stage(processes: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[Cost]]]:
    """Kind of stage -> role -> the cost of each such process."""
    found: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    for process in processes:
        if (known := stage_of(process["command"])) is not None:
            found[known[1]][known[0]].append(cost_of(known[0], process))
    return found


def rows(stages: Mapping[str, Mapping[str, list[Cost]]]) -> Iterator[list[str]]:
    """A row a kind of stage: how many, the mean of each part, and the sum over all of them."""
    for name, roles in stages.items():
        means = [sum(mean(getattr(cost, part.name) for cost in costs) for costs in roles.values()) for part in fields(Cost)]
        count = max(len(costs) for costs in roles.values())
        yield [name, str(count), *(f"{value:.2f}" for value in means), f"{count * sum(means):.1f}"]


OF_A_STAGE = {"slimline.worker_process", "tasks.exports", "tasks.launches_session"}
"""What stages start; its seconds stand at them."""


def others(processes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """CPU seconds of what belongs to no stage, by what it is; a stage's workers stand at their stage."""
    found: dict[str, float] = defaultdict(float)
    for process in processes:
        command = process["command"]
        if stage_of(command) is None and OF_A_STAGE.isdisjoint(command):
            name = next((word for word in command[1:] if not word.startswith("-")), command[0])
            found[Path(name).name] += process["own_s"]
    return found


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    wall_s, processes = measured(arguments.project, arguments.jobs)
    print(f"{wall_s:.0f} s of wall, load {load:.1f} before and {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores\n")
    columns = ["stage", "count", *(part.name.removesuffix("_s") for part in fields(Cost)), "all of them"]
    for row in (columns, ["---"] * len(columns), *rows(by_stage(processes))):
        print(f"| {' | '.join(row)} |")
    print()
    for name, seconds in sorted(others(processes).items(), key=lambda pair: -pair[1]):
        print(f"- {name}: {seconds:.1f}")


if __name__ == "__main__":
    main()
