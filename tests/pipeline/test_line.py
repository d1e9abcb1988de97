"""The whole line on a small run, by both doors, in fresh clones: `python -m flows.compress` and `dvc repro`."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from flows.dag import read_dag
from slimline.params import Params

HERE = Path(__file__).parent
DEPLOYED = ("teacher", "channels50", "small-int8")
PAGES = {"data/data", "look/look", "teacher/teacher", "calibrate/calibrate", "report/report"}
PAGES |= {"prune/channels50", "quantize/small-int8", "factorize/svd", "distill/small"}
PAGES |= {"time/onnxruntime"} | {f"{stage}/{name}-onnxruntime" for stage in ("compile", "evaluate") for name in DEPLOYED}
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost")
NOT_INHERITED = ("AWS_", "PREFECT_", "COV", "PYTEST", "DVC_", "GX_", "ORT_", "NNCF_", "OMP_", "DO_NOT_TRACK", "XDG_")
"""What the line has to set by itself, telemetry's switches above all."""
LOOPBACK = ("127.", "::1", "localhost", "/", "b'/", "::ffff:127.", "\x00")


def sh(folder: Path, *command: str, env: dict[str, str] | None = None, code: int | None = 0) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert code is None or done.returncode == code, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def environment(home: Path, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    own |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
    own |= {
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
    }
    return own | more


@pytest.fixture(scope="module")
def snapshot(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it stands, uncommitted changes included, with the small run's params, as a repository of its own."""
    into, env = tmp_path_factory.mktemp("snapshot"), environment(tmp_path_factory.mktemp("home0"))
    for name in filter(None, sh(project, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")):
        if (project / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project / name, into / name)
    shutil.copyfile(HERE / "params.yaml", into / "params.yaml")
    (into / "dvc.lock").unlink(missing_ok=True)
    sh(into, "git", "init", "-q", "-b", "main", env=env)
    sh(into, "git", "add", "-A", env=env)
    sh(into, "git", *IDENTITY, "commit", "-q", "-m", "small run", env=env)
    return into


def clone(snapshot: Path, into: Path, env: dict[str, str]) -> Path:
    sh(into, "git", "clone", "-q", str(snapshot), ".", env=env)
    return into


class Watch:
    """Follows a process and its children: every remote address that any of them has a socket to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.seen: set[str] = set()
        self._root, self._stop = psutil.Process(process.pid), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for one in [self._root, *self._children()]:
                try:
                    self.seen |= {link.raddr.ip for link in one.net_connections(kind="inet") if link.raddr}
                except psutil.Error:
                    continue

    def _children(self) -> list[psutil.Process]:
        try:
            return self._root.children(recursive=True)
        except psutil.Error:
            return []

    def end(self) -> set[str]:
        self._stop.set()
        self._thread.join()
        return self.seen


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
    """The same params through `dvc repro` alone, in another clone."""
    home = tmp_path_factory.mktemp("home2")
    env = environment(home)
    folder = clone(snapshot, tmp_path_factory.mktemp("dvc"), env)
    return {"folder": folder, "home": home, "env": env, "output": sh(folder, sys.executable, "-m", "dvc", "repro", env=env)}


def test_the_flow_ends_well_and_shows_its_table(flow_run: dict[str, Any]) -> None:
    assert flow_run["code"] == 0, flow_run["output"][-6000:]
    assert "small-int8" in flow_run["output"]
    assert "reports/index.html" in flow_run["output"]


def test_nothing_reaches_outside(flow_run: dict[str, Any]) -> None:
    lines = [line.split("\t") for line in flow_run["log"].splitlines()]
    started = "\n".join(line[2] for line in lines if line[0] == "started")
    watched = ["flows.compress", "prefect", "dvc --wait-for-lock repro", "push --run-cache", "slimline.worker", "tasks.publish"]
    watched += [f"tasks.{page.split('/')[0]}" for page in PAGES]
    assert [name for name in watched if name not in started] == [], "not every process was watched"
    attempts = [line for line in lines if line[0] != "started"]
    assert len(attempts) > 10
    outside = [line for line in attempts if not line[1].strip("'\"").startswith(LOOPBACK) and line[1] not in ("None", "''", "b''")]
    assert outside == []
    assert {address for address in flow_run["sockets"] if not address.startswith(LOOPBACK)} == set()


def test_no_telemetry_is_collected(flow_run: dict[str, Any], dvc_run: dict[str, Any]) -> None:
    """Native telemetry does not show among Python's audit events, but it queues its own in the home folder, as ONNX Runtime does."""
    for home in (flow_run["home"], dvc_run["home"]):
        kept = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
        assert [name for name in kept if re.search(r"microsoft|onnxruntime|telemetry|intel|openvino|/great_expectations", name, re.I)] == []


def test_every_stage_has_its_page_and_metrics(flow_run: dict[str, Any]) -> None:
    reports = flow_run["folder"] / "reports"
    pages = {path.relative_to(reports / "stages").with_suffix("").as_posix() for path in (reports / "stages").rglob("*.html")}
    assert pages == PAGES
    for page in PAGES:
        assert (reports / "stages" / f"{page}.md").stat().st_size > 100
    for name in PAGES - {"report/report", "look/look"}:
        assert json.loads((reports / "metrics" / f"{name}.json").read_text())


def test_summary_holds_what_the_checks_read(flow_run: dict[str, Any]) -> None:
    summary = json.loads((flow_run["folder"] / "reports/summary.json").read_text())
    assert {"schema", "workload", "run", "baseline", "variants"} <= summary.keys()
    assert {"git", "params_sha256", "started", "seconds", "machine"} <= summary["run"].keys()
    rows = {row["variant"]: row for row in summary["variants"]}
    assert rows.keys() == {"teacher", "channels50", "small-int8"}
    promised = {"variant", "stage", "method", "source", "target", "quality", "drop", "flips", "size_bytes", "size_ratio", "parameters"}
    promised |= {"nonzero", "macs", "latency_ms", "speed_ratio", "speed_ratio_same_runtime", "noise_floor", "peak_memory_bytes"}
    promised |= {"energy_mj", "verdict", "reasons", "release"}
    for row in rows.values():
        assert promised <= row.keys()
        assert row["size_ratio"] == pytest.approx(summary["baseline"]["size_bytes"] / row["size_bytes"])
        assert row["verdict"] in {"accept", "reject", "inconclusive"}
        assert row["reasons"]
    assert rows["small-int8"]["size_bytes"] * 10 < summary["baseline"]["size_bytes"]
    assert rows["small-int8"]["verdict"] == "accept"


def test_accepted_releases_load_from_the_store(flow_run: dict[str, Any]) -> None:
    folder, env = flow_run["folder"], flow_run["env"]
    releases = json.loads((folder / "reports/releases.json").read_text())
    summary = json.loads((folder / "reports/summary.json").read_text())
    accepted = {f"{row['variant']}-{row['target']}": row["release"] for row in summary["variants"] if row["verdict"] == "accept"}
    assert releases.keys() == accepted.keys()
    assert all(releases[name].endswith(f"/releases/tabular/{identity}/") for name, identity in accepted.items())
    alias = "s3://slimline/releases/tabular/aliases/latest.json"
    table = folder / "data/prepared/test.arrow"
    command = ["slimline", "s3", "--", "slimline", "predict", alias, "--input", str(table), "--json"]
    told = sh(folder, *command, env=env)
    assert "malignant" in told
    assert "benign" in told


def test_dvc_sees_nothing_to_do_after_the_flow(flow_run: dict[str, Any]) -> None:
    told = sh(flow_run["folder"], sys.executable, "-m", "dvc", "repro", env=flow_run["env"])
    assert "Running stage" not in told
    assert "up to date" in told


def test_dvc_draws_the_plots_that_the_line_declares(flow_run: dict[str, Any]) -> None:
    told = json.loads(sh(flow_run["folder"], sys.executable, "-m", "dvc", "plots", "show", "--json", env=flow_run["env"]))
    assert set(told["data"]) == {"times smaller than the teacher", "times faster than the teacher, batch 1", "quality against size"}
    assert not told.get("errors")
    rows = [plot["content"]["data"]["values"] for plots in told["data"].values() for plot in plots]
    assert all(row for row in rows)


def test_a_second_flow_run_runs_nothing_and_republishing_changes_nothing(flow_run: dict[str, Any]) -> None:
    folder = flow_run["folder"]
    before = (folder / "reports/releases.json").read_bytes()
    told = sh(folder, sys.executable, "-m", "flows.compress", env=flow_run["env"])
    assert "Running stage" not in told
    assert (folder / "reports/releases.json").read_bytes() == before


def test_a_run_with_nothing_to_do_needs_no_prefect(flow_run: dict[str, Any]) -> None:
    folder = flow_run["folder"]
    before = {path: path.stat().st_mtime_ns for path in (folder / ".slimline/logs").iterdir()}
    told = sh(folder, "slimline", "run", "--json", env=flow_run["env"])
    assert "all up to date, and what passed is released: nothing to do" in told
    found = json.loads(told[told.index("{\n") : told.index("\n}") + 2])
    assert set(found["stages"].values()) == {"Cached"}
    assert found["releases"] == json.loads((folder / "reports/releases.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_runs_are_remembered_and_held_against_each_other(flow_run: dict[str, Any]) -> None:
    """Two runs by now, and the second ran nothing: it is no other night."""
    folder = flow_run["folder"]
    told = sh(folder, "slimline", "s3", "--", "slimline", "history", "--json", env=flow_run["env"])
    events = json.loads(told[told.index("[") : told.rindex("]") + 1])
    assert {one["event"] for one in events} >= {"released", "publish"}
    assert [one["why"] for one in events if one["event"] in ("worse", "better", "moved", "verdict")] == []
    assert "1 run of tabular" in (folder / "reports/history/nights.html").read_text()


def test_a_damaged_compiled_file_is_made_again_before_it_is_published(flow_run: dict[str, Any]) -> None:
    """The flipped bit is in the workspace and in DVC's cache, under the file's own times, and the store is a new one."""
    folder = flow_run["folder"]
    releases = (folder / "reports/releases.json").read_bytes()
    compiled = max((folder / "data/compiled/small-int8-onnxruntime").iterdir(), key=lambda path: path.stat().st_size)
    whole = compiled.read_bytes()
    object_ = folder / ".dvc/cache/files/md5" / hashlib.md5(whole).hexdigest()[:2] / hashlib.md5(whole).hexdigest()[2:]
    for path in {path.stat().st_ino: path for path in (compiled, object_)}.values():
        about = path.stat()
        path.chmod(0o644)
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        path.chmod(about.st_mode & 0o777)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    shutil.rmtree(folder / ".slimline/s3")
    told = sh(folder, "slimline", "run", env=flow_run["env"])
    assert "nothing to do" not in told
    assert [line for line in told.splitlines() if line.startswith("healed: removed")] == [
        f"healed: removed {compiled.relative_to(folder)}: its bytes were damaged; it is restored or made again"
    ]
    assert compiled.read_bytes() == object_.read_bytes() == whole
    assert (folder / "reports/releases.json").read_bytes() == releases
    told = sh(folder, "slimline", "s3", "--", "slimline", "releases", "--json", env=flow_run["env"])
    assert all(release.rstrip("/").rpartition("/")[2] in told for release in json.loads(releases).values())


def artifacts(folder: Path) -> dict[str, bytes]:
    """Every byte that must not depend on the door or the clock."""
    kept = {}
    for below in (
        "data/prepared",
        "data/models",
        "data/calibration",
        "data/compiled",
        "data/evaluated",
        "reports/metrics",
        "reports/stages",
    ):
        for path in sorted((folder / below).rglob("*")):
            name = path.relative_to(folder).as_posix()
            timed = name.startswith(("reports/metrics/time", "reports/stages/time", "reports/stages/report"))
            if path.is_file() and not timed:
                kept[name] = path.read_bytes()
    return kept


def test_both_doors_give_the_same_bytes(flow_run: dict[str, Any], dvc_run: dict[str, Any]) -> None:
    first, second = artifacts(flow_run["folder"]), artifacts(dvc_run["folder"])
    assert len(first) > 60
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_another_kind_of_machine_dirties_the_times_alone(dvc_run: dict[str, Any]) -> None:
    folder, env = dvc_run["folder"], dvc_run["env"]
    machine, lock = folder / "data/machine.json", folder / "dvc.lock"
    own, locked = machine.read_text(), lock.read_text()
    machine.write_text(own.replace('"cores": ', '"cores": 9'))
    sh(folder, sys.executable, "-m", "dvc", "commit", "-f", "machine", env=env)
    told = sh(folder, sys.executable, "-m", "dvc", "status", "--json", env=env)
    dirty = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
    machine.write_text(own)
    lock.write_text(locked)
    assert set(dirty) == {"time@onnxruntime"}


def test_a_changed_variant_is_looked_at_and_undoes_no_teacher(dvc_run: dict[str, Any]) -> None:
    folder, env = dvc_run["folder"], dvc_run["env"]
    params = folder / "params.yaml"
    own = params.read_text()
    params.write_text(own.replace("method: svd, rank: 16", "method: svd, rank: 15"))
    nodes = read_dag(folder).nodes
    assert {name for name, node in nodes.items() if not node.clean} == {"look", "factorize@svd", "report"}
    told = sh(folder, sys.executable, "-m", "dvc", "repro", "teacher", env=env)
    assert told.count("Running stage") == 1
    assert "Running stage 'look'" in told
    params.write_text(own)
    assert "Running stage" not in sh(folder, sys.executable, "-m", "dvc", "repro", "teacher", env=env)


def test_check_deep_tries_a_variant_that_cannot_work_and_exits_with_2(dvc_run: dict[str, Any]) -> None:
    folder, env = dvc_run["folder"], dvc_run["env"]
    params = folder / "params.yaml"
    own = params.read_text()
    params.write_text(own.replace("prune:\n", "prune:\n  heads50: {source: teacher, method: heads, fraction: 0.5}\n"))
    told = sh(folder, "slimline", "check", "--deep", "--json", env=env, code=2)
    params.write_text(own)
    found = json.loads(told[told.index("{") : told.rindex("}") + 1])
    (problem,) = found["problems"]
    assert problem.startswith("params.yaml: prune.heads50: heads found no attention in this model")
    outcomes = {trial["what"]: trial["outcome"] for trial in found["tried"]}
    assert outcomes.pop("prune.heads50") == "refused"
    assert outcomes.keys() >= {"quantize.small-int8", "distill.small", "deploy.targets.onnxruntime (teacher)"}
    assert set(outcomes.values()) == {"works"}


FLAT = """from torch import nn


def build(*, preprocessing, outputs, config):
    pixels = preprocessing.height * preprocessing.width * len(preprocessing.mode)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, outputs))
"""


def test_init_takes_out_what_a_net_of_ones_own_cannot_become(snapshot: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "home")
    (tmp_path / "own").mkdir()
    folder = clone(snapshot, tmp_path / "own", env)
    (folder / "flat.py").write_text(FLAT)
    for label, shade in (("dark", 0), ("light", 128)):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(number + shade).integers(shade, shade + 127, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    told = sh(folder, "slimline", "init", "photos", "--model", "flat.py:build", "--force", "--json", env=env)
    found = json.loads(told[told.index("{") : told.rindex("}") + 1])
    assert found["left_out"].keys() == {"channels50", "channels50-int8"}
    assert found["left_out"]["channels50-int8"] == "it starts from channels50"
    assert f"  # channels50 is left out: {found['left_out']['channels50']}" in (folder / "params.yaml").read_text()
    params = Params.load(folder / "params.yaml")
    assert (set(params.variants), params.deploy.variants) == ({"int8"}, ("teacher", "int8"))


def test_a_changed_gate_runs_the_report_alone(dvc_run: dict[str, Any]) -> None:
    folder, env = dvc_run["folder"], dvc_run["env"]
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("min_size_ratio: 1.5", "min_size_ratio: 1000"))
    told = sh(folder, sys.executable, "-m", "dvc", "repro", env=env)
    assert told.count("Running stage") == 1
    assert "Running stage 'report'" in told
    verdicts = {row["verdict"] for row in json.loads((folder / "reports/summary.json").read_text())["variants"]}
    assert verdicts == {"reject"}


def test_publishing_when_nothing_passed_exits_with_3(dvc_run: dict[str, Any]) -> None:
    told = sh(dvc_run["folder"], sys.executable, "-m", "tasks.publish", env=dvc_run["env"], code=3)
    assert len([line for line in told.splitlines() if line.startswith("error:")]) == 1


def test_a_failing_stage_leaves_nothing_half_written(dvc_run: dict[str, Any]) -> None:
    folder, env = dvc_run["folder"], dvc_run["env"]
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("test_fraction: 0.4", "test_fraction: 0.9"))
    told = sh(folder, sys.executable, "-m", "dvc", "repro", "data", env=env, code=None)
    assert "make the fractions smaller" in told
    assert not (folder / "data/prepared").exists()
    assert [path.name for path in (folder / "data").iterdir() if path.name.startswith(".")] == []
