"""The small run's project, and the line on it by both doors."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.small_run import DEPLOYED, HERE, clone, environment, sh, snapshot_of
from tests.pipeline.sockets import Watch


@pytest.fixture(scope="session")
def snapshot(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it stands, with the small run's params, as a repository of its own."""
    return snapshot_of(project, tmp_path_factory.mktemp("snapshot"), environment(tmp_path_factory.mktemp("home0")))


@pytest.fixture(scope="module")
def flow_run(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run through the flow, published to the embedded S3 server, every connection noted."""
    home = tmp_path_factory.mktemp("home")
    hook = tmp_path_factory.mktemp("hook")
    shutil.copyfile(HERE / "outgoing_hook.py", hook / "sitecustomize.py")
    log = hook / "outgoing.log"
    env = environment(home)
    folder = clone(snapshot, tmp_path_factory.mktemp("flow"), env)
    watched = env | {"PYTHONPATH": str(hook), "SLIMLINE_OUTGOING_LOG": str(log)}
    command = [sys.executable, "-m", "flows.compress", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=folder, env=watched, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = Watch(process)
    try:
        output, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    return {
        "folder": folder,
        "home": home,
        "env": env,
        "code": process.returncode,
        "output": output,
        "sockets": watch.end(),
        "log": log.read_text(),
    }


@pytest.fixture(scope="module")
def dvc_run(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same params through `dvc repro` alone, in another clone: all but `time`, whose clocks differ, and the report on them."""
    home = tmp_path_factory.mktemp("home2")
    env = environment(home)
    folder = clone(snapshot, tmp_path_factory.mktemp("dvc"), env)
    targets = ["prune@channels50", "factorize@svd", *(f"evaluate@{name}-onnxruntime" for name in DEPLOYED)]
    sh(folder, sys.executable, "-m", "dvc", "repro", *targets, env=env)
    return {"folder": folder, "home": home, "env": env}


@pytest.fixture(scope="module")
def done(flow_run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A copy of the flow's clone, every stage up to date, in which DVC alone goes on."""
    folder = tmp_path_factory.mktemp("copy") / "line"
    shutil.copytree(flow_run["folder"], folder, symlinks=True, ignore=shutil.ignore_patterns(".slimline"))
    return {"folder": folder, "env": flow_run["env"]}
