"""Leases of stages on a real store: one holder at a time, the dead are followed, a store that is gone costs no run."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from slimline.errors import StorageUnavailable
from slimline.params import PublishParams
from slimline.storage.client import Store, connect
from slimline.storage.objects import read, write_if
from slimline.storage.server import store_environment
from slimline.storage.stage_leases import FREE, KEPT, PREFIX, Stopping, ended, forget, held

TTL_S = 3.0
HOLD = """
import sys, time
from slimline.storage.client import connect
from slimline.storage.stage_leases import held
with held(connect("slimline"), "abc", sys.argv[1], ttl_s=float(sys.argv[3]), on_wait=lambda other: print("waits for", other, flush=True)):
    print("has it", time.time(), flush=True)
    time.sleep(float(sys.argv[2]))
    print("ends", time.time(), flush=True)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with store_environment(tmp_path_factory.mktemp("store"), PublishParams()) as found:
        yield found


@pytest.fixture
def store(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return connect("slimline")


def holder(name: str, seconds: float, ttl_s: float) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLD, name, str(seconds), str(ttl_s)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_that_race_have_it_one_after_the_other(store: Store) -> None:
    racing = [holder(f"machine-{number}", 2, 30.0) for number in range(4)]
    said = [one.communicate(timeout=60)[0].splitlines() for one in racing]
    spans = sorted((float(lines[-2].split()[-1]), float(lines[-1].split()[-1])) for lines in said)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert sum(line.startswith("waits for machine-") for lines in said for line in lines) >= 2


@pytest.mark.slow
def test_a_dead_holder_is_followed_and_a_living_one_is_not(store: Store) -> None:
    dead = holder("dead", 60, TTL_S)
    assert dead.stdout is not None
    assert dead.stdout.readline().startswith("has it")
    living_since = time.monotonic()
    taken = threading.Event()

    def wait() -> None:
        with held(store, "abc", "next", ttl_s=TTL_S):
            taken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not taken.wait(2 * TTL_S), "it was taken from a holder that lives"
    dead.kill()
    dead.wait()
    assert taken.wait(3 * TTL_S)
    waiting.join()
    assert time.monotonic() - living_since > 2 * TTL_S
    found = read(store, f"{PREFIX}abc.json")
    assert found is not None
    assert found.body == FREE


@pytest.mark.parametrize("body", [b"", b"\xff", b"[1]", b'{"holder": 3}'])
def test_what_is_no_lease_is_waited_for_once(store: Store, body: bytes) -> None:
    name = f"damaged-{len(body)}-{body[:1].hex()}"
    assert write_if(store, f"{PREFIX}{name}.json", body, None)
    heard: list[str] = []
    with held(store, name, "next", ttl_s=0.5, on_wait=heard.append):
        assert len(heard) == 1


def test_a_run_that_stops_waits_no_longer(store: Store) -> None:
    with held(store, "mine", "first"), pytest.raises(Stopping), held(store, "mine", "second", is_stopping=lambda: True):
        pass


def test_a_store_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "x"}
    with pytest.raises(StorageUnavailable), held(connect("slimline", settings), "abc", "me"):
        pass


def test_what_the_block_raises_ends_the_lease(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(store, "raises", "me", ttl_s=TTL_S):
        raise ZeroDivisionError
    with held(store, "raises", "next", ttl_s=TTL_S, on_wait=lambda _: pytest.fail("it was held still")):
        pass


@pytest.mark.slow
def test_a_write_whose_answer_was_lost_ends_no_lease(store: Store) -> None:
    key = f"{PREFIX}lost-answer.json"
    with held(store, "lost-answer", "me", ttl_s=TTL_S):
        standing = read(store, key)
        assert standing is not None
        assert write_if(store, key, b'{"holder": "me", "beat": 99}', standing.etag)
        seen = set()
        end = time.monotonic() + 2 * TTL_S
        while time.monotonic() < end:
            found = read(store, key)
            seen.add(found.etag if found else None)
            time.sleep(0.2)
    assert len(seen) > 4
    ended = read(store, key)
    assert ended is not None
    assert ended.body == FREE


def test_leases_of_long_ago_go_and_one_of_today_stays(store: Store) -> None:
    key = f"{PREFIX}ended.json"
    write_if(store, key, FREE, None)
    now = datetime.now(UTC)
    assert key not in ended(store, now)
    later = ended(store, now + KEPT + timedelta(minutes=1))
    assert key in later
    forget(store, later)
    assert read(store, key) is None
