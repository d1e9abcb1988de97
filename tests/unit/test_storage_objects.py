"""Single objects and every refusal of a store, against a real SeaweedFS server."""

import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import pytest

from slimline.errors import InputError, StorageRefused, StorageUnavailable
from slimline.params import PublishParams
from slimline.storage import client as client_module
from slimline.storage import weed
from slimline.storage.client import connect
from slimline.storage.fetched import fetched
from slimline.storage.leases import locked
from slimline.storage.objects import Listed, check_writes, download, listed, put_bytes, read, remove, require_bucket, upload, write_if
from slimline.storage.probe import probe_store
from slimline.storage.releases import fetch_object
from slimline.storage.server import SETTINGS, state_folder
from slimline.storage.url import object_address, release_address
from tests.own_store import own_store

READER = {
    "name": "reader",
    "credentials": [{"accessKey": "reader", "secretKey": "reads-and-lists-only"}],
    "actions": ["Read", "List"],
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A running server's variables; it knows a second key that may only read."""
    root = tmp_path_factory.mktemp("project")
    folder = state_folder(root)
    folder.mkdir(parents=True)
    weed.keys_of(folder)
    identities = json.loads((folder / "s3.json").read_text())
    identities["identities"].append(READER)
    (folder / "s3.json").write_text(json.dumps(identities))
    with own_store(root) as added:
        yield added


@pytest.fixture
def store(environment):
    return connect("slimline", environment)


@pytest.fixture
def here(environment, monkeypatch, tmp_path):
    """The process's own environment leads to the server, in a folder that is no project."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def test_what_is_written_is_read_listed_and_brought_back_whole(store, tmp_path):
    body = os.urandom(20_000_000)  # more than one part
    (tmp_path / "large").write_bytes(body)
    upload(store, "round/large", tmp_path / "large")
    put_bytes(store, "round/small", b"1")
    download(store, "round/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == body
    assert [(one.key, one.size_bytes) for one in listed(store, "round/")] == [("round/large", len(body)), ("round/small", 1)]
    assert read(store, "round/none") is None


def test_of_writers_that_race_exactly_one_wins(store):
    for key in ("race/one", "race/two", "race/three", "race/four"):
        wins = race([partial(write_if, store, key, b"%d" % number, None) for number in range(8)])
        assert wins.count(True) == 1
    etag = read(store, "race/one").etag
    wins = race([partial(write_if, store, "race/one", b"next %d" % number, etag) for number in range(8)])
    assert wins.count(True) == 1


def test_a_conditional_write_to_the_embedded_server_waits_for_its_turn(store):
    with ThreadPoolExecutor() as pool:
        with locked(store.turns, "turns"):
            write = pool.submit(write_if, store, "turn", b"1", None)
            time.sleep(0.3)
            assert read(store, "turn") is None
        assert write.result()


def test_a_store_elsewhere_has_no_turns_and_neither_has_one_whose_folder_is_gone(environment, tmp_path):
    assert connect("slimline", environment | {"AWS_ENDPOINT_URL": "https://s3.example.org"}).turns is None
    assert write_if(connect("slimline", environment | {client_module.TURNS: str(tmp_path / "gone")}), "no-turn", b"1", None)
    assert not (tmp_path / "gone").exists()


def race(tasks):
    barrier, results = threading.Barrier(len(tasks)), []

    def one(task):
        barrier.wait()
        results.append(task())

    threads = [threading.Thread(target=one, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_conditional_write_to_what_has_gone_fails(store):
    put_bytes(store, "gone", b"1")
    etag = read(store, "gone").etag
    store.client.delete_object(Bucket=store.bucket, Key="gone")
    assert not write_if(store, "gone", b"2", etag)


@pytest.mark.parametrize("changed", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody"}])
def test_a_wrong_key_is_refused_in_one_line(environment, changed):
    with pytest.raises(StorageRefused, match=r"refuses the key.*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
        require_bucket(connect("slimline", environment | changed))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_bucket_is_refused_by_name(environment, tmp_path):
    elsewhere = connect("no-such-bucket", environment)
    for act in (lambda: require_bucket(elsewhere), lambda: read(elsewhere, "x"), lambda: download(elsewhere, "x", tmp_path / "x")):
        with pytest.raises(
            StorageRefused, match=r"bucket 'no-such-bucket' does not exist; create it, or correct the bucket in params.yaml"
        ):
            act()


def test_a_key_without_the_right_to_write_is_refused(environment):
    reader = connect("slimline", environment | {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reads-and-lists-only"})
    require_bucket(reader)
    with pytest.raises(StorageRefused, match="no right for writing x in bucket 'slimline'"):
        write_if(reader, "x", b"1", None)
    with pytest.raises(StorageRefused, match="no right for writing"):
        check_writes(reader)


def test_a_store_that_is_down_is_named_within_seconds(environment):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(StorageUnavailable, match=f"{endpoint} does not answer") as caught:
            require_bucket(connect("slimline", environment | {"AWS_ENDPOINT_URL": endpoint}))
    assert time.monotonic() - started < 10
    assert caught.value.exit_code == 1


def test_a_store_that_hangs_is_given_up(environment, monkeypatch):
    monkeypatch.setattr(client_module, "READ_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StorageUnavailable, match="does not answer while listing"):
            require_bucket(connect("slimline", environment | {"AWS_ENDPOINT_URL": endpoint}))


@pytest.mark.parametrize(
    "changed",
    [{"AWS_ENDPOINT_URL": "not a url"}, {"AWS_PROFILE": "no-such-profile"}, {"AWS_SECRET_ACCESS_KEY": ""}],
    ids=lambda one: next(iter(one)),
)
def test_settings_that_cannot_work_are_refused(environment, monkeypatch, changed):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageRefused, match=r"S3|AWS"):
        require_bucket(connect("slimline", environment | changed))


@pytest.mark.usefixtures("here")
def test_doctors_probe_writes_nothing_that_stays(store, tmp_path):
    assert "conditional writes work" in probe_store(tmp_path, PublishParams())
    assert listed(store, "releases/.probe") == []


@pytest.mark.usefixtures("here")
def test_an_object_is_fetched_whole_or_not_at_all(store, tmp_path):
    put_bytes(store, "teachers/one.safetensors", b"weights")
    target = tmp_path / "in" / "weights.safetensors"
    assert fetch_object("s3://slimline/teachers/one.safetensors", target) == target
    assert target.read_bytes() == b"weights"
    for url, problem in (("s3://slimline/teachers/two", "no such object"), ("s3://nobody/two", "bucket 'nobody' does not exist")):
        with pytest.raises(StorageRefused, match=problem):
            fetch_object(url, tmp_path / "in" / "other")
    assert [one.name for one in (tmp_path / "in").iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("url", ["s3://slimline", "s3://slimline/", "http://a/b", "s3:///key", "s3://bucket/folder/"])
def test_an_address_of_no_object_is_an_input_error(url):
    with pytest.raises(InputError, match="s3://BUCKET/KEY"):
        object_address(url)


def test_addresses_of_releases_and_aliases():
    release, alias = "s3://b/releases/digits/0123456789abcdef0123/", "s3://b/mirror/releases/digits/aliases/latest.json"
    assert release_address(release).release == "0123456789abcdef0123"
    assert (release_address(alias).base, release_address(alias).alias) == ("mirror/releases/digits", "latest")
    for wrong in ("s3://b/releases/digits/", "s3://b/releases/digits/0123/", "s3://b/releases/digits/../x/aliases/a.json", "/tmp/release"):
        with pytest.raises(InputError, match="no address of a release"):
            release_address(wrong)


def test_data_in_the_store_is_copied_and_only_changes_are_copied_again(store, here, tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        put_bytes(store, f"pictures/{name}", name.encode())
    put_bytes(store, "pictures-of-others/no.png", b"no")
    place = fetched("s3://slimline/pictures/", tmp_path / "copies")
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*.png")) == ["cat/1.png", "cat/2.png", "dog/1.png"]
    (place / "cat/1.png").write_bytes(b"cat/1.pn?")
    os.utime(place / "cat/1.png", (before := listed(store, "pictures/cat/1.png")[0].modified.timestamp(), before))
    time.sleep(1.1)  # the store tells times in seconds
    put_bytes(store, "pictures/cat/2.png", b"another")
    remove(store, "pictures/dog/1.png")
    assert fetched("s3://slimline/pictures/", tmp_path / "copies") == place
    assert (place / "cat/1.png").read_bytes() == b"cat/1.pn?", "what looks the same is not fetched again"
    assert (place / "cat/2.png").read_bytes() == b"another"
    assert not (place / "dog/1.png").exists()


def test_one_object_is_one_file(store, here, tmp_path):
    put_bytes(store, "tables/sales.csv", b"a,b\n1,2\n")
    place = fetched("s3://slimline/tables/sales.csv", tmp_path)
    assert (place.name, place.read_bytes()) == ("sales.csv", b"a,b\n1,2\n")


def test_data_that_is_not_there_or_would_leave_its_folder_is_refused(store, here, tmp_path, monkeypatch):
    with pytest.raises(StorageRefused, match=r"s3://slimline/nowhere: nothing is there at .*; correct data\.path"):
        fetched("s3://slimline/nowhere", tmp_path)
    with pytest.raises(InputError, match="no address of an object"):
        fetched("s3://slimline", tmp_path)
    outside = Listed("pictures/../../evil.png", 1, datetime.now())  # as a store that is not ours may list it
    monkeypatch.setattr("slimline.storage.fetched.listed", lambda _store, _prefix: [outside])
    with pytest.raises(StorageRefused, match="its name leads out of the folder it would be copied to"):
        fetched("s3://slimline/pictures", tmp_path)
    assert list(tmp_path.iterdir()) == []
