"""The real line in a clone of the project: prepared, run on past what fails and what the look refuses, timed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from scheme_workloads import Setting

from slimline.measure.machine import record
from slimline.params import CONFIGS

PROJECT = Path(__file__).resolve().parents[1]
FAILURE = re.compile(r"error: \w+\.(?P<variant>[\w-]+): (?P<reason>.+)")
LOOKED = re.compile(r"error: params\.yaml: (deploy: '(?P<deployed>[\w-]+)' cannot run on '\w+'|\w+\.(?P<made>[\w-]+)): (?P<reason>.+)")
"""What the stage `look` says of a variant that only the net itself shows to be impossible; nothing behind it has run then."""
ENVIRONMENT = {
    "COLUMNS": "1000",
    "OMP_WAIT_POLICY": "passive",
    "PYTHONHASHSEED": "0",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "NNCF_CI": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


def prepared_clone(folder: Path, setting: Setting, *, update: bool) -> Path:
    """A clone of the project's last commit with the workload's file below workloads/, where DVC watches it."""
    if not folder.is_dir():
        _run("git", "clone", "-q", "--shared", str(PROJECT), str(folder), folder=PROJECT)
    elif update:
        lock = (folder / "dvc.lock").read_bytes()
        _run("git", "fetch", "-q", "origin", folder=folder)
        _run("git", "reset", "-q", "--hard", "origin/HEAD", folder=folder)
        (folder / "dvc.lock").write_bytes(lock)
        for stage in ("evaluate", "time"):
            shutil.rmtree(folder / "reports/metrics" / stage, ignore_errors=True)  # DVC brings back what is still up to date
    if setting.file:
        shutil.copyfile(folder / "benchmarks/workloads" / setting.file, folder / "workloads" / setting.file)
    return folder


def run_line(clone: Path, content: dict[str, Any], jobs: int) -> dict[str, str]:
    """Everything up to `evaluate`, going on past what fails, by DVC alone or by the flow where stages are to run side by side; then the
    times of all that stands. What `look` refuses is left out, and the rest runs.

    Returns variant -> what its last failing stage said.
    """
    (clone / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    command = ["-m", "dvc", "repro", "--keep-going", "evaluate"]
    if jobs > 1:
        command = ["-m", "flows.compress", "--no-publish", "--jobs", str(jobs), "--target", "evaluate@*"]
    lines = list(_said(command, clone))
    if refused := {found["deployed"] or found["made"]: found["reason"] for line in lines if (found := LOOKED.search(line))}:
        return refused | run_line(clone, without(content, refused), jobs)
    for target in content["deploy"]["targets"]:
        record(clone)
        lines += _said(["-m", "dvc", "repro", "--single-item", "machine", f"time@{target}"], clone)
    return {failure["variant"]: failure["reason"] for line in lines if (failure := FAILURE.search(line))}


def without(content: dict[str, Any], refused: Iterable[str]) -> dict[str, Any]:
    """The same run without some variants, and without those that start from them."""
    gone = set(refused)
    entries = [(name, entry) for stage in CONFIGS for name, entry in content[stage].items()]
    while more := {name for name, entry in entries if entry["source"] in gone} - gone:
        gone |= more
    sections = {stage: {name: entry for name, entry in content[stage].items() if name not in gone} for stage in CONFIGS}
    variants = [name for name in content["deploy"]["variants"] if name not in gone]
    return content | sections | {"deploy": content["deploy"] | {"variants": variants}}


def _said(arguments: Sequence[str], clone: Path) -> Iterator[str]:
    """Run Python in the clone, show its lines and give them."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=clone,
        env={**os.environ, **ENVIRONMENT, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        for line in running.stdout or ():
            sys.stderr.write(line)
            yield line


def _run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
