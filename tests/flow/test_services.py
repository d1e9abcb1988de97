"""`make up` and `make down` on a tiny project: a real Prefect server, worker, S3 store and the deployments of prefect.yaml."""

import json
import os
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Cancelling

from flows.processes import runs
from tests.tiny_project import REPO, make_project


def services(root, env, *arguments):
    command = [sys.executable, "-m", "flows.services", *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=180)


def recorded(root):
    return json.loads((root / ".slimline/services.json").read_text())


def wait_for(what, seconds):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """(root, environment, the bystander's pid) of a project whose services are up."""
    folder = tmp_path_factory.mktemp("services")
    root, env = make_project(folder)
    (folder / "control").mkdir()
    env |= {"TINY_CONTROL": str(folder / "control"), "TINY_LOG": str(folder / "log")}
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "prefect", "worker", "start"])
    began = services(root, env, "up", "--port", "0")
    assert began.returncode == 0, began.stdout + began.stderr
    yield root, env, bystander
    services(root, env, "down")
    bystander.kill()
    bystander.wait()


def create_run(api, deployment, **options):
    with SyncPrefectClient(api) as client:  # a busy SQLite refuses with 503; Prefect's clients ask again
        return client.create_flow_run_from_deployment(deployment["id"], parameters={"options": options})


def final_state(api, run):
    state = httpx.get(f"{api}/flow_runs/{run.id}").json()["state_type"]
    return state if state in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None


def test_prefect_yaml_names_no_machine():
    text = (REPO / "prefect.yaml").read_text()
    assert "/work" not in text
    assert "/home" not in text
    assert "{{ $SLIMLINE_PROJECT }}" in text


def test_nightly_gets_scheduled_runs(up):
    api = recorded(up[0])["api_url"]
    nightly = httpx.get(f"{api}/deployments/name/compress/nightly").json()
    assert [schedule["schedule"]["cron"] for schedule in nightly["schedules"]] == ["0 2 * * *"]
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    query = {"deployments": {"id": {"any_": [nightly["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = wait_for(lambda: httpx.post(f"{api}/flow_runs/filter", json=query).json(), 90)
    assert all(run["auto_scheduled"] for run in runs)
    assert all("T02:00:00" in run["expected_start_time"] for run in runs)


def test_the_form_has_every_option_and_refuses_nonsense(up):
    api = recorded(up[0])["api_url"]
    on_demand = httpx.get(f"{api}/deployments/name/compress/on-demand").json()
    shown = on_demand["parameter_openapi_schema"]["definitions"]["Options"]["properties"]
    assert {"targets", "set_params", "jobs", "on_failure", "force", "publish"} <= set(shown)
    refused = httpx.post(f"{api}/deployments/{on_demand['id']}/create_flow_run", json={"parameters": {"options": {"jobs": 99}}})
    assert refused.status_code == 409
    zombies = httpx.post(f"{api}/automations/filter", json={}).json()
    assert [automation["name"] for automation in zombies] == ["crash zombie flow runs"]


def test_the_nightly_run_leaves_the_working_tree_alone(up):
    root, env, _ = up
    api = recorded(root)["api_url"]
    nightly = httpx.get(f"{api}/deployments/name/compress/nightly").json()
    run = create_run(api, nightly, isolated=True, publish=False)
    ended = wait_for(lambda: final_state(api, run), 120)
    log = (root / ".slimline/logs/worker.log").read_text()
    assert ended == "COMPLETED", log[-3000:]
    assert not (root / "data/models").exists()
    assert not (root / "dvc.lock").exists()
    listed = subprocess.run([sys.executable, "-m", "dvc", "exp", "list"], cwd=root, env=env, capture_output=True, text=True, check=True)
    assert run.name in listed.stdout


def test_a_cancelled_run_ends_its_stages_and_the_next_one_runs(up):
    root, _, _ = up
    api, (control, log) = recorded(root)["api_url"], (root.parent / name for name in ("control", "log"))
    on_demand = httpx.get(f"{api}/deployments/name/compress/on-demand").json()
    before = log.read_text() if log.exists() else ""
    (control / "teacher.hold").touch()
    run = create_run(api, on_demand, targets=["teacher"], force=True, publish=False)
    [stage] = wait_for(lambda: log.exists() and log.read_text().removeprefix(before).splitlines(), 120)
    working = psutil.Process(int(stage.split()[-1]))
    with SyncPrefectClient(api) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert wait_for(lambda: final_state(api, run), 120) == "CANCELLED"
    assert not runs(working)
    assert json.loads((root / ".dvc/tmp/rwlock").read_text()) in ({}, {"read": {}, "write": {}})
    (control / "teacher.hold").unlink()
    again = create_run(api, on_demand, targets=["teacher"], force=True, publish=False)
    assert wait_for(lambda: final_state(api, again), 120) == "COMPLETED"


def test_up_twice_changes_nothing_and_down_stops_exactly_these(up):
    root, env, bystander = up
    before = recorded(root)
    again = services(root, env, "up", "--port", "0")
    assert again.returncode == 0
    assert recorded(root) == before
    assert services(root, env, "status").returncode == 0
    pids = [service["pid"] for service in before["processes"]]
    family = [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    below = f"{root}/.slimline/s3"
    store = [process.pid for process in psutil.process_iter(["cmdline"]) if below in " ".join(process.info["cmdline"] or ())]
    assert len(pids) == 2
    assert store, "the S3 store is not up"
    down = services(root, env, "down")
    assert down.returncode == 0, down.stderr
    assert [pid for pid in (*pids, *family, *store) if psutil.pid_exists(pid)] == []
    assert bystander.poll() is None
    assert not (root / ".slimline/services.json").exists()
    assert services(root, env, "status").returncode == 1
    assert "nothing was up" in services(root, env, "down").stdout


def test_a_taken_port_and_a_foreign_pid(tmp_path):
    root, env = make_project(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = services(root, env, "up", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port} is taken by process {os.getpid()}" in refused.stderr
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    record = {"api_url": "http://127.0.0.1:1/api", "since": "", "processes": [{"name": "worker", "pid": victim.pid, "born": 1.0}]}
    (root / ".slimline").mkdir(exist_ok=True)
    (root / ".slimline/services.json").write_text(json.dumps(record))
    assert services(root, env, "down").returncode == 0
    assert victim.poll() is None, "down ended a process that only has the same pid"
    victim.kill()
    victim.wait()
