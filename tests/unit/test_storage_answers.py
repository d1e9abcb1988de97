"""Stores that answer what none should, and settings with secrets: one line each; benchmarks/faults/store.py tries every operation."""

import os
import sys
from pathlib import Path

import pytest

from slimline.errors import SlimlineError, StorageRefused, StorageUnavailable
from slimline.params import PublishParams
from slimline.storage import client as client_module
from slimline.storage import objects
from slimline.storage.aliases import Alias, list_aliases, read_alias
from slimline.storage.client import connect
from slimline.storage.releases import fetch_release, list_releases
from slimline.storage.server import SETTINGS, store_environment
from slimline.storage.url import plain

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/faults"))
from hostile_store import ALIAS_BODIES, EVERYTHING, hostile_store

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "S3cret"}
UNAVAILABLE = {"a web page, 502", "a web page that is no XML", "cut XML", "an XML bomb", "an outside entity", "no status", "500", "503"}
UNAVAILABLE |= {"503 with Retry-After", "a web page", "JSON", "429", "408", "reset", "silence", "half a body", "status 600", "status 999"}
HARMLESS = {"404 of the key", "412 to everything", "409 to everything", "no keys", "no time", "a huge object", "a key with a line break"}
HARMLESS |= {"an alias of an odd name", "a body in drops", "half a body", "a list that does not end"}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(client_module, "READ_TIMEOUT_S", 2)
    monkeypatch.setattr(client_module, "ATTEMPTS", 1)
    monkeypatch.setattr(objects, "MOST_PAGES", 20)


def told(store, act):
    with pytest.raises((StorageRefused, StorageUnavailable)) as caught:
        act(store)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 700
    assert "S3cret" not in line
    return caught.value


@pytest.mark.parametrize("kind", [kind for kind in EVERYTHING if " that is " not in kind and kind not in HARMLESS])
def test_whatever_is_no_answer_of_a_store_is_told_in_one_line(kind):
    with hostile_store(kind) as endpoint:
        store = connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint})
        for act in (objects.require_bucket, lambda store: objects.write_if(store, "x", b"1", None)):
            if (
                kind in ("a time that is none", "a size that is none", "nothing, 200 with a tag", "JSON", "a wrong root")
                and act is not objects.require_bucket
            ):
                continue  # a write's answer is but its tag
            error = told(store, act)
            assert isinstance(error, StorageUnavailable) == (kind in UNAVAILABLE), str(error)


@pytest.mark.parametrize("body", ALIAS_BODIES)
def test_an_altered_alias_is_damaged_and_an_altered_release_is_none(body, tmp_path):
    with hostile_store(f"an alias that is {body}") as endpoint:
        store = connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint})
        assert "damaged" in str(told(store, lambda store: read_alias(store, "releases/digits", "latest")))
        told(store, lambda store: list_aliases(store, "releases/digits"))
    with hostile_store(f"a release.json that is {body}") as endpoint:
        assert list_releases(connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint}), "releases/digits") == []


def test_names_that_a_terminal_or_a_path_would_obey_are_no_aliases():
    good = {"release": "a" * 20, "variant": "int8", "target": "onnxruntime", "releases": {"int8-onnxruntime": "a" * 20}}
    Alias.model_validate(good)
    for wrong in ({"release": "../x"}, {"variant": "\x1b[31m"}, {"target": "a/b"}, {"releases": {"x": ".."}}, {"withdrawn": ["[red]"]}):
        with pytest.raises(ValueError, match="pattern"):
            Alias.model_validate(good | wrong)
    with hostile_store("an alias of an odd name") as endpoint:
        assert list_aliases(connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint}), "releases/digits") == {}


def test_an_object_that_is_huge_is_refused_unread():
    with hostile_store("a huge object") as endpoint:
        store = connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint})
        assert "50,000,000,000 bytes" in str(told(store, lambda store: objects.read(store, "x")))


def test_a_listing_that_does_not_end_is_left():
    with hostile_store("a list that does not end") as endpoint:
        assert "does not end" in str(
            told(connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint}), lambda store: objects.listed(store, "releases/"))
        )


SECRETIVE = [f"http://{who}@{where}" for who in ("tester:S3cret", "S3cret", ":S3cret") for where in ("127.0.0.1:1", "[::1", "host:bad/x")]
SECRETIVE += ["http://127.0.0.1:1/?token=S3cret", "http://127.0.0.1:1/#S3cret", "tester:S3cret@host", "//tester:S3cret@host"]


@pytest.mark.parametrize("endpoint", SECRETIVE)
def test_an_endpoint_with_a_secret_is_refused_and_not_shown(endpoint, tmp_path, monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert "S3cret" not in plain(endpoint)
    told(None, lambda _: connect("slimline", KEYS | {"AWS_ENDPOINT_URL": endpoint}))

    def use(_):
        with store_environment(tmp_path, PublishParams(endpoint_url=endpoint)):
            raise AssertionError("the store was used")

    told(None, use)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    told(None, lambda _: fetch_release("s3://slimline/releases/digits/aliases/latest.json", tmp_path))


def test_the_password_of_a_proxy_is_not_shown(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://tester:S3cret@127.0.0.1:1")
    monkeypatch.delenv("http_proxy", raising=False)
    assert os.environ["HTTP_PROXY"]
    store = connect("slimline", KEYS | {"AWS_ENDPOINT_URL": "http://store.invalid:9"})
    assert isinstance(told(store, objects.require_bucket), SlimlineError)
