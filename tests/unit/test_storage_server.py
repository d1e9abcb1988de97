"""The embedded S3 server: real SeaweedFS processes, leases, crashes, and what it shows to the outside."""

import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from slimline.errors import StorageUnavailable
from slimline.params import PublishParams
from slimline.storage import leases, weed
from slimline.storage.certificate import internal_certificate
from slimline.storage.client import connect
from slimline.storage.objects import read, write_if
from slimline.storage.releases import fetch_object
from slimline.storage.server import (
    SETTINGS,
    hold_server,
    is_embedded,
    opened_store,
    release_server,
    server_state,
    state_folder,
    store_environment,
)

PUBLISH = PublishParams()
REPOSITORY = Path(__file__).parents[2]
USE_THE_STORE = """
import sys
from pathlib import Path
from slimline.params import PublishParams
from slimline.storage.server import store_environment
with store_environment(Path(sys.argv[1]), PublishParams()):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _no_store_of_ones_own(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path):
    yield tmp_path
    release_server(tmp_path)
    folder = state_folder(tmp_path)
    if folder.exists():
        with leases.locked(folder):
            weed.stop(folder)


def user(root):
    """Another process that uses the store until its input ends; waits until it has it."""
    command = [sys.executable, "-c", USE_THE_STORE, str(root)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


def server_process(root):
    state = weed.running(state_folder(root))
    return psutil.Process(int(state["process"].partition(":")[0])) if state else None


def status_of(url, method="GET"):
    request = urllib.request.Request(url, method=method, data=b"x" if method in ("PUT", "POST") else None)
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code


def sockets_of(root):
    """What the parts of the server talk through, outside of its folder."""
    ports = weed.read_state(state_folder(root) / "state.json", weed._state)["ports"]
    return [path for name, port in ports.items() for path in weed.SOCKETS.glob(f"seaweedfs-{name}-*-{port + weed.GRPC_OFFSET}.sock")]


@pytest.mark.slow
def test_it_is_up_while_used_gone_after_and_keeps_data_keys_and_ports(root):
    with opened_store(root, PUBLISH) as store:
        assert sockets_of(root)
        endpoint, keys = store.endpoint, weed.keys_of(state_folder(root))
        assert write_if(store, "kept", b"yes", None)
        process = server_process(root)
    assert not process.is_running()
    assert not sockets_of(root)
    assert not server_state(root, PUBLISH).running
    with opened_store(root, PUBLISH) as store:
        assert read(store, "kept").body == b"yes"
        assert store.endpoint == endpoint
    assert weed.keys_of(state_folder(root)) == keys


def test_it_listens_on_the_loopback_only_and_shuts_every_door_without_a_key(root):
    with opened_store(root, PUBLISH) as store:
        assert write_if(store, "secret", b"1", None)
        process, ports = server_process(root), weed.running(state_folder(root))["ports"]
        sockets = process.net_connections("inet")
        assert {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        assert {one.raddr.ip for one in sockets if one.raddr} <= {"127.0.0.1"}
        assert max(ports.values()) < 55000
        assert "-master.telemetry=false" in process.cmdline()
        assert status_of(f"{store.endpoint}/slimline/secret") == 403
        assert status_of(f"http://127.0.0.1:{ports['filer']}/buckets/slimline/secret") == 404
        assert status_of(f"http://127.0.0.1:{ports['master']}/dir/assign") == 404


def shell(ports, environment, commands, folder):
    """What `weed shell` says; it waits for ever for a server that does not take it."""
    arguments = ["shell", f"-master=127.0.0.1:{ports['master']}", f"-filer=127.0.0.1:{ports['filer']}"]
    own = {"PATH": os.defpath, "HOME": str(folder), **environment}
    try:
        given = {"input": commands, "timeout": 4, "cwd": folder, "env": own, "text": True, "check": False}
        return subprocess.run([weed.weed_binary(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given).stdout
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode()


@pytest.mark.slow
def test_other_users_of_the_machine_cannot_command_the_parts_of_the_server(root, tmp_path_factory):
    """Deleting through `weed shell` worked for anybody who could reach the loopback."""
    foreign = tmp_path_factory.mktemp("foreign")
    delete = "fs.ls /buckets/slimline\nfs.rm -r /buckets/slimline/secret\nfs.ls /buckets/slimline\n"
    with opened_store(root, PUBLISH) as store:
        assert write_if(store, "secret", b"1", None)
        folder = state_folder(root)
        ports = weed.running(folder)["ports"]
        for certificate in ({}, internal_certificate(foreign)):
            assert "secret" not in shell(ports, certificate, delete, foreign)
            assert read(store, "secret").body == b"1"
        assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("internal.key", "internal.crt")} == {0o600}
        mine = {f"WEED_GRPC_CLIENT_{kind.upper()}": str(folder / f"internal.{end}") for kind, end in (("cert", "crt"), ("key", "key"))}
        assert "secret" in shell(ports, mine | {"WEED_GRPC_CA": str(folder / "internal.crt")}, delete, foreign), (
            "the attack itself is wrong"
        )
        assert read(store, "secret") is None


@pytest.mark.slow
@pytest.mark.parametrize("part", ["master", "volume", "filer", "admin"])
def test_the_http_doors_change_nothing_without_a_key(root, part):
    with opened_store(root, PUBLISH) as store:
        assert write_if(store, "secret", b"1", None)
        port = weed.running(state_folder(root))["ports"][part]
        paths = ("/buckets/slimline/secret", "/dir/assign", "/vol/grow?count=1", "/col/delete?collection=slimline", "/1,01637037d6")
        for path, method in itertools.product(paths, ("GET", "PUT", "POST", "DELETE")):
            assert status_of(f"http://127.0.0.1:{port}{path}", method) in (400, 401, 403, 404, 405), (path, method)
        assert read(store, "secret").body == b"1"


def test_keys_are_generated_and_readable_by_the_owner_only(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with store_environment(root, PUBLISH) as added:
        folder = state_folder(root)
        assert stat.S_IMODE((folder / "s3.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert added["AWS_SECRET_ACCESS_KEY"] not in " ".join(server_process(root).cmdline())
        assert added["AWS_SECRET_ACCESS_KEY"] not in repr(connect("slimline", added))
        assert added["AWS_SECRET_ACCESS_KEY"] != weed.keys_of(other).secret


@pytest.mark.slow
def test_the_last_of_several_users_stops_it(root):
    first, second = user(root), user(root)
    process = server_process(root)
    assert len(server_state(root, PUBLISH).users) == 2
    second.communicate()
    assert second.returncode == 0
    assert process.is_running()
    with store_environment(root, PUBLISH):
        first.kill()
        first.wait()
        assert process.is_running()
    assert server_process(root) is None


@pytest.mark.slow
def test_users_that_start_together_share_one_server(root):
    endpoints = []

    def use():
        with store_environment(root, PUBLISH) as added:
            endpoints.append(added["AWS_ENDPOINT_URL"])
            time.sleep(0.3)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(endpoints) == 5
    assert len(set(endpoints)) == 1
    assert server_process(root) is None


@pytest.mark.slow
def test_a_killed_user_is_forgotten_by_the_next(root):
    killed = user(root)
    process = server_process(root)
    killed.kill()
    killed.wait()
    assert process.is_running()
    with opened_store(root, PUBLISH) as store:
        assert server_process(root).pid == process.pid
        assert write_if(store, "after", b"1", None)
        assert len(server_state(root, PUBLISH).users) == 1
    assert not process.is_running()


@pytest.mark.slow
def test_a_killed_server_comes_back_with_every_object(root):
    with opened_store(root, PUBLISH) as store:
        bodies = {f"object-{number}": os.urandom(5000) for number in range(60)}
        for key, body in bodies.items():
            assert write_if(store, key, body, None)
        server_process(root).send_signal(signal.SIGKILL)
        with opened_store(root, PUBLISH) as again:
            assert {key: read(again, key).body for key in bodies} == bodies
    assert not sockets_of(root)


@pytest.mark.slow
def test_a_server_whose_state_file_was_lost_is_replaced(root):
    killed = user(root)
    stray = server_process(root)
    (state_folder(root) / "state.json").unlink()
    killed.kill()
    killed.wait()
    with opened_store(root, PUBLISH):
        assert not stray.is_running()
        assert server_process(root).pid != stray.pid


@pytest.mark.slow
def test_a_copied_project_never_uses_the_other_ones_server(root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    with opened_store(root, PUBLISH) as store:
        assert write_if(store, "mine", b"1", None)
        shutil.copytree(root / ".slimline", copy / ".slimline", ignore=shutil.ignore_patterns("*.sock", "data", "leases"))
        with opened_store(copy, PUBLISH) as other:
            assert other.endpoint != store.endpoint
            assert read(other, "mine") is None


def test_a_hold_outlives_its_process_and_ends_when_told(root):
    with store_environment(root, PUBLISH):
        hold_server(root, PUBLISH)
    state = server_state(root, PUBLISH)
    assert state.running
    assert state.users == ("hold",)
    killed = user(root)
    killed.kill()
    killed.wait()
    assert release_server(root)
    assert not server_state(root, PUBLISH).running


def test_a_hold_from_before_a_reboot_does_not_count(root):
    folder = state_folder(root)
    leases.hold(folder)
    assert leases.holders(folder) == ["hold"]
    (folder / "leases" / "hold").write_text(f"boot:{psutil.boot_time() - 86400:.0f}")
    assert leases.holders(folder) == []


def test_a_lease_of_a_reused_process_number_is_dead():
    mark = leases.process_mark()
    pid, _, born = mark.partition(":")
    assert leases.is_alive(mark)
    assert not leases.is_alive(f"{pid}:{float(born) - 100}")
    assert not leases.is_alive("garbled")


@pytest.mark.parametrize("name", SETTINGS)
def test_aws_settings_mean_a_store_of_ones_own_and_start_nothing(root, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert not is_embedded(PUBLISH)
    with store_environment(root, PUBLISH) as added:
        assert "AWS_SECRET_ACCESS_KEY" not in added
    assert not state_folder(root).exists()


def test_an_endpoint_in_params_goes_before_the_environment(root, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with store_environment(root, PublishParams(endpoint_url="http://127.0.0.1:10")) as added:
        assert connect("slimline", os.environ | added).endpoint == "http://127.0.0.1:10"
    assert not state_folder(root).exists()


@pytest.mark.slow
def test_in_a_projects_folder_the_embedded_store_is_reached_without_any_setting(root, monkeypatch):
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text("{workload: digits, deploy: {variants: [teacher], targets: [eager]}}\n")
    with opened_store(root, PUBLISH) as store:
        assert write_if(store, "teacher.safetensors", b"weights", None)
    monkeypatch.chdir(root)
    assert fetch_object("s3://slimline/teacher.safetensors", root / "here").read_bytes() == b"weights"
    assert server_process(root) is None


def test_it_serves_past_a_proxy_with_the_bucket_of_params_and_the_one_of_dvc(root, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    publish = PublishParams(bucket="elsewhere")
    with store_environment(root, publish) as added:
        assert added["NO_PROXY"] == "example.org,127.0.0.1"
        store = connect(publish.bucket, os.environ | added)
        assert {one["Name"] for one in store.client.list_buckets()["Buckets"]} == {"elsewhere", "slimline"}


@pytest.mark.slow
def test_a_server_that_cannot_start_says_why_and_leaves_no_lease(root):
    folder = state_folder(root)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "filerldb2").write_text("a file where a folder must be")
    with pytest.raises(StorageUnavailable, match=r"does not start: .*filerldb2.*server\.log"), store_environment(root, PUBLISH):
        pass
    assert leases.holders(folder) == []
    assert server_process(root) is None


def test_nothing_here_imports_torch():
    modules = ("publish", "promotion", "probe", "server")
    names = (
        ", ".join(f"slimline.storage.{name}" for name in modules)
        + ", "
        + ", ".join(f"slimline.commands.{name}" for name in ("s3", "publish", "releases", "promote", "rollback", "history"))
    )
    code = f"import sys, tasks.publish, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
