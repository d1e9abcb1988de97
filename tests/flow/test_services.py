"""`make up` and `make down` on a tiny project: a real Prefect server, worker, S3 store and the deployments of prefect.yaml."""

import json
import os
import shutil
import socket
import subprocess
import sys

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Cancelling

from flows.processes import runs, stop_service
from flows.queues import why_no_gpu
from tests.alert_sinks import WebhookSink
from tests.flow.prefect_api import API
from tests.tiny_project import REPO, make_project
from tests.waiting import eventually

pytestmark = pytest.mark.slow

CANARY = "T0CANARYT0KEN"


def services(root, env, *arguments):
    command = [sys.executable, "-m", "flows.services", *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=180)


def recorded(root):
    return json.loads((root / ".slimline/services.json").read_text())


def wait_for(what):
    found = eventually(what, 400, every_s=0.5)
    assert found, "waited in vain"
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory, empty_database):
    """(root, environment, the bystander's pid) of a project whose services are up."""
    folder = tmp_path_factory.mktemp("services")
    root, env = make_project(folder)
    (root / "params").mkdir()
    (root / "params/other.yaml").write_text((root / "params.yaml").read_text().replace("seed: 0", "seed: 3"))
    (root / "params/gpu.yaml").write_text((root / "params.yaml").read_text().replace("epochs: 1}", "epochs: 1, device: cuda}"))
    subprocess.run("git add -A && git commit -qm other", shell=True, cwd=root, env=env, check=True)
    (folder / "control").mkdir()
    env |= {"TINY_CONTROL": str(folder / "control"), "TINY_LOG": str(folder / "log")}
    sink = WebhookSink()
    env |= {"SLIMLINE_ALERTS": f"{sink.url}/services/{CANARY}", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    (root / ".slimline/prefect").mkdir(parents=True)
    shutil.copy(empty_database, root / ".slimline/prefect/prefect.db")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(36000)", "prefect", "worker", "start"])
    began = services(root, env, "up", "--port", "0")
    assert began.returncode == 0, began.stdout + began.stderr
    yield root, env, bystander, sink
    services(root, env, "down")
    sink.close()
    bystander.kill()
    bystander.wait()


def create_run(api, deployment, **options):
    with SyncPrefectClient(api) as client:  # a busy SQLite refuses with 503; Prefect's clients ask again
        return client.create_flow_run_from_deployment(deployment["id"], parameters={"options": options})


def final_state(api, run):
    state = API.get(f"{api}/flow_runs/{run.id}").json()["state_type"]
    return state if state in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None


def test_prefect_yaml_names_no_machine():
    text = (REPO / "prefect.yaml").read_text()
    assert "/work" not in text
    assert "/home" not in text
    assert "{{ $SLIMLINE_PROJECT }}" in text


def test_nightly_gets_scheduled_runs(up):
    api = recorded(up[0])["api_url"]
    nightly = API.get(f"{api}/deployments/name/nightly/nightly").json()
    assert [schedule["schedule"]["cron"] for schedule in nightly["schedules"]] == ["0 2 * * *"]
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    query = {"deployments": {"id": {"any_": [nightly["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = wait_for(lambda: API.post(f"{api}/flow_runs/filter", json=query).json())
    assert all(run["auto_scheduled"] for run in runs)
    assert all("T02:00:00" in run["expected_start_time"] for run in runs)


def test_the_form_has_every_option_and_refuses_nonsense(up):
    api = recorded(up[0])["api_url"]
    on_demand = API.get(f"{api}/deployments/name/compress/on-demand").json()
    options = on_demand["parameter_openapi_schema"]["definitions"]["Options"]["properties"]
    assert options["params_file"]["enum"] == ["params.yaml", "params/gpu.yaml", "params/other.yaml"]
    shown = on_demand["parameter_openapi_schema"]["definitions"]["Options"]["properties"]
    assert {"targets", "set_params", "jobs", "on_failure", "force", "publish"} <= set(shown)
    refused = API.post(f"{api}/deployments/{on_demand['id']}/create_flow_run", json={"parameters": {"options": {"jobs": 99}}})
    assert refused.status_code == 409
    secret = {"set_params": {"publish.endpoint_url": f"http://bob:{CANARY}@127.0.0.1"}}
    refused = API.post(f"{api}/deployments/{on_demand['id']}/create_flow_run", json={"parameters": {"options": secret}})
    assert refused.status_code == 409
    automations = {automation["name"] for automation in API.post(f"{api}/automations/filter", json={}).json()}
    told = {"a run failed", "something got worse", "a disk or bucket is nearly full", "the nightly run was missed"}
    assert automations == {"crash zombie flow runs", *(f"alert: {title}" for title in told)}
    search = API.get(f"{api}/deployments/name/search/search").json()
    assert set(search["parameter_openapi_schema"]["definitions"]["SearchOptions"]["properties"]) == {"jobs", "set_params"}


def test_a_night_runs_its_list_leaves_the_tree_alone_and_anyone_reproduces_it(up):
    root, env, *_ = up
    api = recorded(root)["api_url"]
    nightly = API.get(f"{api}/deployments/name/nightly/nightly").json()
    run = create_run(api, nightly, runs=["params.yaml", "params/none.yaml", "params/other.yaml"], publish=False)
    ended = wait_for(lambda: final_state(api, run))
    log = (root / ".slimline/logs/worker.log").read_text()
    assert ended == "FAILED", log[-3000:]
    assert not (root / "data/models").exists()
    assert not (root / "dvc.lock").exists()
    query = {"artifacts": {"key": {"any_": ["nightly"]}, "flow_run_id": {"any_": [str(run.id)]}}}
    [table] = API.post(f"{api}/artifacts/filter", json=query).json()
    rows = {row["run"]: row for row in json.loads(table["data"])}
    assert [row["state"] for row in rows.values()] == ["Completed", "Failed", "Completed"], "the list goes on after a run that failed"
    assert "no such file" in rows["params/none.yaml"]["what"]
    again = root.parent / "again"
    subprocess.run(["git", "clone", "-q", str(root), str(again)], env=env, check=True)

    def dvc(*arguments):
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=again, env=env, capture_output=True, text=True, check=True).stdout

    dvc("config", "--local", "cache.dir", str(root / ".dvc/cache"))
    for file, seed in (("params.yaml", 0), ("params/other.yaml", 3)):
        experiment = rows[file]["experiment"]
        dvc("exp", "pull", "-q", "--no-cache", "origin", experiment)
        dvc("exp", "apply", experiment)
        assert f"seed: {seed}" in (again / "params.yaml").read_text()
        assert "up to date" in dvc("repro")
        assert (again / "reports/summary.json").is_file()
        subprocess.run(["git", "checkout", "-qf", "."], cwd=again, env=env, check=True)


def test_a_cancelled_run_ends_its_stages_and_the_next_one_runs(up):
    root, *_ = up
    api, (control, log) = recorded(root)["api_url"], (root.parent / name for name in ("control", "log"))
    on_demand = API.get(f"{api}/deployments/name/compress/on-demand").json()
    before = log.read_text() if log.exists() else ""
    (control / "teacher.hold").touch()
    run = create_run(api, on_demand, targets=["teacher"], force=True, publish=False)
    [stage] = wait_for(lambda: log.exists() and log.read_text().removeprefix(before).splitlines())
    working = psutil.Process(int(stage.split()[-1]))
    with SyncPrefectClient(api) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert wait_for(lambda: final_state(api, run)) == "CANCELLED"
    assert not runs(working)
    assert json.loads((root / ".dvc/tmp/rwlock").read_text()) in ({}, {"read": {}, "write": {}})
    (control / "teacher.hold").unlink()
    again = create_run(api, on_demand, targets=["teacher"], force=True, publish=False)
    assert wait_for(lambda: final_state(api, again)) == "COMPLETED"


def alerts_noted(root):
    path = root / ".slimline/alerts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_failed_run_is_told_by_webhook_and_no_secret_is_left_behind(up):
    root, *_, sink = up
    api, control = recorded(root)["api_url"], root.parent / "control"
    on_demand = API.get(f"{api}/deployments/name/compress/on-demand").json()
    (control / "teacher.fail").write_text("2")
    run = create_run(api, on_demand, targets=["teacher"], force=True, publish=False)
    assert wait_for(lambda: final_state(api, run)) == "FAILED"
    (control / "teacher.fail").unlink()
    (text,) = wait_for(lambda: [one["text"] for one in sink.taken if run.name in one["text"]])
    assert text.startswith("a run failed\n")
    assert "failed: teacher" in text
    assert str(run.id) in text
    noted = wait_for(lambda: [one for one in alerts_noted(root) if run.name in one["text"]])  # the line follows what was sent
    assert [(one["title"], one["sent"], one["failed"]) for one in noted] == [("a run failed", 1, [])]
    assert [path for path in (root / ".slimline").rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()] == []


def sent(root, env, file):
    command = [sys.executable, "-c", "from slimline.cli import main; main()", "send", "--params", file, "--no-publish", "--json"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_what_is_sent_goes_to_the_workers_of_its_queue(up):
    root, env, *_ = up
    api = recorded(root)["api_url"]
    queues = {queue["name"]: queue["priority"] for queue in API.post(f"{api}/work_pools/slimline/queues/filter", json={}).json()}
    assert queues == {"gpu": 1, "big-memory": 2, "default": 3}
    usual = sent(root, env, "params/other.yaml")
    assert (usual["queue"], usual["is_served"]) == ("default", True)
    assert wait_for(lambda: state_of(api, usual["identity"]))["type"] == "COMPLETED"


@pytest.mark.skipif(why_no_gpu() is None, reason="this machine has a GPU, and nothing is refused")
def test_a_run_that_needs_a_gpu_waits_for_one_and_is_refused_where_there_is_none(up):
    root, env, *_ = up
    api, log = recorded(root)["api_url"], root.parent / "log"
    nightly = API.get(f"{api}/deployments/name/nightly/nightly").json()
    before = log.read_text() if log.exists() else ""
    waiting = sent(root, env, "params/gpu.yaml")
    assert (waiting["queue"], waiting["is_served"]) == ("gpu", False)
    night = create_run(api, nightly, runs=["params/gpu.yaml"], publish=False)
    assert "not: params/gpu.yaml" in wait_for(lambda: state_of(api, night.id))["message"]
    assert "no worker asks for the queue gpu" in nightly_table(api, night)[0]["what"]
    assert state_of(api, waiting["identity"]) is None, "a worker of the queue default took it"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "slimline", "--work-queue", "gpu"]
    worker = subprocess.Popen(command, cwd=root, env=env | {"PREFECT_API_URL": api, "SLIMLINE_PROJECT": str(root)})
    try:
        refused = wait_for(lambda: state_of(api, waiting["identity"]))
        assert (refused["type"], refused["message"].count("\n")) == ("FAILED", 0)
        assert "params/gpu.yaml: teacher.device: cuda: torch " in refused["message"]
        night = create_run(api, nightly, runs=["params/gpu.yaml"], publish=False)
        wait_for(lambda: state_of(api, night.id))
        [row] = nightly_table(api, night)
        assert (row["state"], "teacher.device: cuda" in row["what"]) == ("Failed", True)
    finally:
        stop_service(psutil.Process(worker.pid), 20)  # by force, if need be: Prefect's worker was once seen to go on
    assert (log.read_text() if log.exists() else "") == before, "a stage was begun"


def state_of(api, identity):
    state = API.get(f"{api}/flow_runs/{identity}").json()["state"]
    return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None


def nightly_table(api, run):
    query = {"artifacts": {"key": {"any_": ["nightly"]}, "flow_run_id": {"any_": [str(run.id)]}}}
    [table] = API.post(f"{api}/artifacts/filter", json=query).json()
    return json.loads(table["data"])


def test_a_nightly_run_that_does_not_come_and_something_worse_are_told(up):
    root, env, _, sink = up
    program = (
        "from datetime import timedelta; from prefect.events import emit_event; from prefect.blocks.webhook import Webhook; "
        "from flows.automations import BLOCK, alerts, register_alerts; from prefect.client.orchestration import get_client\n"
        "address = Webhook.load(BLOCK).url.get_secret_value()\n"
        "with get_client(sync_client=True) as client:\n"
        "    (old,) = client.read_automations_by_name('alert: the nightly run was missed'); client.delete_automation(old.id)\n"
        "register_alerts(address, alerts(missed_after=timedelta(seconds=10)))\n"
        "resource = {'prefect.resource.id': 'slimline.run.x', 'prefect.resource.name': 'able-ant'}\n"
        "emit_event(event='slimline.regression', resource=resource, payload={'text': 'int8-openvino: worse: accuracy 0.9 to \"0.8\"'})\n"
        "import time; time.sleep(3)\n"
    )
    asked = {**env, "PREFECT_API_URL": recorded(root)["api_url"]}
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=asked, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = {"something got worse", "the nightly run was missed"}

    def found():
        texts = dict(one["text"].split("\n", 1) for one in sink.taken)
        return texts if expected <= set(texts) else None

    told = wait_for(found)
    assert told["something got worse"] == ('able-ant: int8-openvino: worse: accuracy 0.9 to "0.8"')
    assert "no nightly run began within 0.00277778 h" in told["the nightly run was missed"]


def _without_alerts(root, env, before):
    """What is recorded once `up` has replaced the one service that was killed."""
    psutil.Process(next(one["pid"] for one in before["processes"] if one["name"] == "alerts")).kill()
    wait_for(lambda: services(root, env, "status").returncode == 1)
    again = services(root, env, "up", "--port", "0")
    assert again.returncode == 0, again.stderr
    after = recorded(root)
    pids = [{one["name"]: one["pid"] for one in record["processes"]} for record in (before, after)]
    assert {name: pids[0][name] == pids[1][name] for name in pids[0]} == {"server": True, "worker": True, "alerts": False}
    assert after["api_url"] == before["api_url"]
    return after


def test_up_twice_changes_nothing_and_down_stops_exactly_these(up):
    root, env, bystander, _ = up
    before = recorded(root)
    again = services(root, env, "up", "--port", "0")
    assert again.returncode == 0
    assert recorded(root) == before
    assert services(root, env, "status").returncode == 0
    before = _without_alerts(root, env, before)
    served = [psutil.Process(service["pid"]) for service in before["processes"]]
    family = [child for process in served for child in process.children(recursive=True)]
    below = f"{root}/.slimline/s3"
    store = [process for process in psutil.process_iter(["cmdline"]) if below in " ".join(process.info["cmdline"] or ())]
    assert len(served) == 3
    assert store, "the S3 store is not up"
    down = services(root, env, "down")
    assert down.returncode == 0, down.stderr
    assert [process for process in (*served, *family, *store) if runs(process)] == []
    assert bystander.poll() is None
    assert not (root / ".slimline/services.json").exists()
    assert services(root, env, "status").returncode == 1
    assert "nothing was up" in services(root, env, "down").stdout


def test_what_does_not_come_up_leaves_nothing(tmp_path):
    root, env = make_project(tmp_path)
    (root / "prefect.yaml").write_text("deployments: [{name: nightly, entrypoint: flows/nowhere.py:nightly}]\n")
    refused = services(root, env, "up", "--port", "0")
    assert refused.returncode == 1
    assert "prefect --no-prompt deploy --all" in refused.stderr
    assert not (root / ".slimline/services.json").exists()
    assert [process for process in psutil.process_iter(["cmdline"]) if f"{root}/" in " ".join(process.info["cmdline"] or ())] == []


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
