"""`slimline serve` under load, when it stops, and when it is asked for what cannot be."""

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from slimline.commands.serve import serve
from slimline.errors import ArtifactError, InputError
from tests.serving.served import Served, serving
from tests.serving.small_releases import WORDS, heavy, texts
from tests.waiting import eventually

LONG = " ".join(WORDS * 3)
SECONDS = 40
"""So many texts keep the model busy for some seconds: whatever a test does meanwhile is done by then."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return heavy(tmp_path_factory.mktemp("served") / "heavy")


@pytest.fixture
def server(slow: Path) -> Iterator[Served]:
    with serving(slow, "--batch-size", "1", "--queue-length", "2", "--timeout-s", "300") as served:
        yield served


def embed(server: Served, count: int = 1) -> httpx.Response:
    return server.post("/v1/embeddings", {"input": [LONG] * count})


def batches(server: Served) -> int:
    """How many times the model has been run."""
    text = httpx.get(f"{server.url}/metrics").text
    return int(float(re.findall(r"^slimline_batch_size_count (\S+)$", text, re.M)[0]))


@contextlib.contextmanager
def busy(server: Served) -> Iterator["Future[httpx.Response]"]:
    """A client whose answer takes seconds; the model works on it when the block begins."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(embed, server, SECONDS)
        assert eventually(lambda: batches(server) == 1)
        yield answer


@pytest.mark.slow
def test_a_full_queue_is_told_503_and_when_to_come_again(server: Served) -> None:
    with busy(server) as first, ThreadPoolExecutor(7) as pool:
        answers = list(pool.map(lambda _: embed(server), range(7)))
    statuses = sorted(answer.status_code for answer in answers)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert first.result().status_code == 200
    assert statuses == [200] * 2 + [503] * 5
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "overloaded"


@pytest.mark.slow
def test_a_stopping_server_finishes_what_it_has_begun_and_takes_nothing_new(server: Served) -> None:
    with busy(server) as begun:
        server.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: any(line.startswith("SIGTERM") for line in server.lines))
        health = httpx.get(f"{server.url}/health")
        late = embed(server)
    assert begun.result().status_code == 200
    assert (health.status_code, health.json()["status"]) == (503, "draining")
    assert (late.status_code, late.json()["error"]["message"]) == (503, "the server is stopping; ask another one")
    assert server.process.wait(60) == 0
    assert server.lines[-1] == "stopped"


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_told_504(slow: Path) -> None:
    with serving(slow, "--timeout-s", "0.3", "--drain-s", "0") as server:
        answer = embed(server, SECONDS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        assert server.stopped() == 0


@pytest.mark.slow
def test_a_client_that_goes_away_is_not_worked_for(server: Served) -> None:
    with busy(server):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/embeddings", json={"input": [LONG] * 100}, timeout=0.5)
        assert eventually(lambda: any(" 499 " in line for line in server.lines))
        assert batches(server) == 1, "the model had nothing else to do"
    assert embed(server).status_code == 200
    assert batches(server) == 2, "100 texts that nobody waits for were worked on"


def test_only_those_with_a_key_are_answered(slow: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("0123456789abcdef\nanother-key-of-someone\n")
    with serving(slow, "--api-key-file", tmp_path / "keys") as server:
        without = [httpx.get(f"{server.url}{path}") for path in ("/v1/models", "/metrics")]
        wrong = httpx.get(f"{server.url}/v1/models", headers={"authorization": "Bearer 0123456789abcdeX"})
        right = httpx.get(f"{server.url}/v1/models", headers={"authorization": "Bearer another-key-of-someone"})
        assert httpx.get(f"{server.url}/health").status_code == 200
    assert [one.status_code for one in (*without, wrong, right)] == [401, 401, 401, 200]
    assert wrong.json()["error"]["code"] == "invalid_api_key"


def test_a_body_that_does_not_end_holds_nobody_up(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{")
        assert embed(server).status_code == 200


def test_settings_that_cannot_be_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        serve(str(tmp_path), port=70000, batch_size=0, timeout_s=0)
    assert [line.partition(":")[0] for line in str(told.value).splitlines()] == ["--port 70000", "--batch-size 0", "--timeout-s 0"]


def test_a_port_that_is_taken_and_a_release_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="Address already in use; give another port"):
        serve(str(tmp_path), port=taken.getsockname()[1])
    with pytest.raises(InputError, match=r"--host no\.such\.host"):
        serve(str(tmp_path), host="no.such.host", port=0)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        serve(str(tmp_path / "nowhere"), port=0)


@pytest.mark.parametrize(("text", "words"), [(None, "cannot be read: No such file"), ("\n", "holds no key"), ("short", "shorter than 16")])
def test_a_key_file_that_is_none(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "keys").write_text(text)
    with pytest.raises(InputError, match=words):
        serve(str(tmp_path), api_key_file=tmp_path / "keys", port=0)


def test_threads_end_with_the_service(tmp_path: Path) -> None:
    from slimline.runtime import load
    from slimline.serving.service import opened
    from slimline.serving.settings import Settings

    before = threading.active_count()
    service = opened(load(texts(tmp_path / "texts")), Settings())
    assert threading.active_count() == before + 1
    service.close()
    assert threading.active_count() == before
