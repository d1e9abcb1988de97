"""The tiny project as a repository of its own, and the flow in it: what the tests of runs and of their ends share."""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.waiting import eventually

REPO = Path(__file__).parents[2]
TINY = Path(__file__).parent / "tiny"


FLOW = (sys.executable, "-m", "flows.compress")
SLIMLINE_RUN = (sys.executable, "-c", "from slimline.cli import main; main()", "run")
DVC_CONFIG = """[core]
    autostage = false
    remote = store
['remote "store"']
    url = {remote}
"""


def clean_environment(folder):
    """No settings of the user's, of the real project's or of another test's."""
    names = ("PREFECT", "SLIMLINE", "DVC", "AWS", "GIT", "TINY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    (folder / "gitconfig").write_text("[user]\nname = Tester\nemail = tester@example.org\n")
    own = {f"DVC_{name}": str(folder / name.lower()) for name in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
    return {**kept, **own, "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"), "PYTHONPATH": str(REPO)}


def sh(*command, cwd, env):
    return subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout


def hear_interrupts():
    """A job that a shell put in the background ignores SIGINT, and so would everything that the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@functools.cache
def template():
    """The tiny project in git and DVC, made once for all copies."""
    folder = Path(tempfile.mkdtemp(prefix="slimline-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root, env = folder / "project", clean_environment(folder)
    shutil.copytree(TINY, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "gitignore.txt").rename(root / ".gitignore")
    (root / "dvc.yaml.txt").rename(root / "dvc.yaml")
    (root / "flows").symlink_to(REPO / "flows")
    sh("git", "init", "-q", "-b", "main", cwd=root, env=env)
    sh(sys.executable, "-m", "dvc", "init", "-q", cwd=root, env=env)
    return root


class Project:
    """A copy of the tiny project in git and DVC, and how to run the flow in it; without an `api_url` a run has its own Prefect server."""

    def __init__(self, folder, api_url):
        self.folder, self.root = folder, folder / "project"
        self.control = folder / "control"
        self.control.mkdir()
        self.started = []
        self.env = clean_environment(folder) | {"TINY_LOG": str(folder / "log"), "TINY_CONTROL": str(self.control)}
        self.env |= {"PREFECT_API_URL": api_url} if api_url else {}
        shutil.copytree(template(), self.root, symlinks=True)
        (self.root / ".dvc/config").write_text(DVC_CONFIG.format(remote=folder / "remote"))
        self.commit()

    def commit(self):
        sh("git", "add", "-A", cwd=self.root, env=self.env)
        sh("git", "commit", "-qm", "state", cwd=self.root, env=self.env)

    def dvc(self, *arguments):
        return sh(sys.executable, "-m", "dvc", *arguments, cwd=self.root, env=self.env)

    def hold(self, *stages):
        for stage in stages:
            (self.control / f"{stage}.hold").touch()

    def let_go(self):
        for held in self.control.glob("*.hold"):
            held.unlink()

    def fail(self, stage, code):
        (self.control / f"{stage}.fail").write_text(str(code))

    def start(self, *flags, command=FLOW):
        command = [*command, "--json", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=self.root, env=self.env, text=True, preexec_fn=hear_interrupts, **pipes)
        self.started.append(process)
        return process

    def run(self, *flags):
        """(exit code, outcome or None, what the terminal showed)"""
        return self.end(self.start(*flags))

    def end(self, process):
        out, shown = process.communicate(timeout=120)
        return process.returncode, json.loads(out) if out.strip() else None, shown

    def executions(self):
        """{stage: [(start, end or None), …]}"""
        times = defaultdict(list)
        log = self.folder / "log"
        for line in log.read_text().splitlines() if log.exists() else ():
            stage, what, when, _ = line.split()
            if what == "start":
                times[stage].append([float(when), None])
            else:
                times[stage][-1][1] = float(when)
        return times

    def stage_pids(self, stage):
        return [int(line.split()[3]) for line in (self.folder / "log").read_text().splitlines() if line.startswith(f"{stage} start")]

    def processes(self):
        """Whatever works for this project: by its command line or by its environment."""
        found = psutil.process_iter(["cmdline", "environ"])
        marks = {process: [*(process.info["cmdline"] or ()), (process.info["environ"] or {}).get("TINY_LOG", "")] for process in found}
        return [process for process, marked in marks.items() if any(str(self.folder) in mark for mark in marked) and runs(process.pid)]

    def wait_for(self, stage, seconds=60):
        assert eventually(lambda: self.executions().get(stage), seconds), f"{stage} did not start"


def sharing_project(folder, api_url, store):
    """A clone of its own with a remote in the store."""
    folder.mkdir()
    project = Project(folder, api_url)
    project.env |= store
    project.dvc("remote", "add", "-d", "-f", "store", "s3://dvc/shared")
    project.dvc("remote", "modify", "store", "endpointurl", store["AWS_ENDPOINT_URL"])
    project.commit()
    return project


@contextmanager
def prefect_api(folder):
    """The address of a real Prefect API that lives for the length of the block."""
    from flows.processes import stop_service
    from flows.server import free_port, server_command, wait_until_healthy

    port = free_port()
    env = clean_environment(folder) | {"PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(server_command(port), env=env, stdout=log, stderr=log)
    api_url = f"http://127.0.0.1:{port}/api"
    wait_until_healthy(api_url, server.poll, folder / "log.txt")
    yield api_url
    stop_service(psutil.Process(server.pid), 20)


def runs(pid):
    """Whether a process is there and has not ended; a zombie, which nobody has taken note of yet, has."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
