"""Releases, aliases and publishing, with real ONNX models and a real SeaweedFS server."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from botocore.exceptions import ReadTimeoutError
from typer.testing import CliRunner

from slimline.artifact.folder import sha256_of
from slimline.commands.gc import gc
from slimline.commands.history import history
from slimline.commands.promote import promote as promote_command
from slimline.commands.publish import publish as publish_command
from slimline.commands.releases import releases as releases_command
from slimline.commands.rollback import rollback as rollback_command
from slimline.commands.s3 import s3
from slimline.commands.verify import verify as verify_command
from slimline.errors import ArtifactError, InputError, NothingPassed, StorageRefused
from slimline.params import PublishParams
from slimline.runtime import load
from slimline.storage import aliases
from slimline.storage.aliases import Author, Standing, advance, author, promote, read_alias, rollback
from slimline.storage.client import connect
from slimline.storage.objects import listed, put_bytes, read, write_if
from slimline.storage.promotion import promote_reference, resolve
from slimline.storage.publish import Draft, preferred_standing, publish_project
from slimline.storage.releases import Release, fetch_release, list_releases, release_base, release_id, verify_release
from slimline.storage.signing import verify_signature
from slimline.storage.trail import earlier_moves
from tests.own_store import own_store
from tests.toy_release import compile_toy
from tests.waiting import eventually

REPOSITORY = Path(__file__).parents[2]
VARIANTS = {"small": 1.0, "tiny": 2.0}
SHARE = {"unit": "fraction", "better": "higher"}
SAID = Author(who="someone@somewhere", why="a test")
PUBLISH = "from tasks.publish import main; main([])"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with own_store(tmp_path_factory.mktemp("server")) as added:
        yield added


@pytest.fixture
def workload(request):
    """A name that no other test's releases stand under."""
    return release_base(request.node.name).removeprefix("releases/")


@pytest.fixture
def project(tmp_path, workload, environment, monkeypatch):
    """A project after a run of two accepted variants and a rejected one, with the server's variables set."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "project"
    (root / "reports/templates").mkdir(parents=True)
    shutil.copy(REPOSITORY / "reports/templates/model_card.md.j2", root / "reports/templates")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text(json.dumps({"workload": workload, "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}}))
    write_run(root, workload, VARIANTS)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def store(environment):
    return connect("slimline", environment)


def write_run(root, workload, variants, ballast=0):
    """What the DAG leaves: compiled models (weight = `variants`' value), pages and the summary; "bad" is rejected."""
    rows = []
    for name, weight in {**variants, "bad": 9.0}.items():
        folder = compile_toy(root / f"data/compiled/{name}-onnxruntime", workload, name, weight, ballast)
        size = sum(path.stat().st_size for path in folder.iterdir())
        rows.append(row(name, size, release_id(folder), "reject" if name == "bad" else "accept"))
        page = root / f"reports/stages/evaluate/{name}-onnxruntime.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!doctype html><title>{name}</title>")
    write_summary(root, workload, rows)


def write_summary(root, workload, rows):
    machine = {"cpu": "a processor", "isa": ["avx2"], "threads": 1, "versions": {}}
    run = {"git": "0" * 40, "params_sha256": "0" * 64, "started": "2026-11-22T00:00:00+00:00", "seconds": 1.0, "machine": machine}
    baseline = {
        "quality": {"accuracy": {"value": 0.98, "ci": [0.97, 0.99], **SHARE}},
        "size_bytes": 1000000,
        "parameters": 250000,
        "macs": 9,
    }
    (root / "reports/summary.json").write_text(
        json.dumps({"schema": 1, "workload": workload, "run": run, "machines": {"a0b1": machine}, "baseline": baseline, "variants": rows})
    )


def row(name, size_bytes, identity, verdict):
    ratio = {"batch_1": {"value": 20.5, "ci": [19.0, 22.0]}}
    return {
        "variant": name,
        "stage": "prune",
        "method": "magnitude",
        "source": "teacher",
        "target": "onnxruntime",
        "quality": {"accuracy": {"value": 0.975, "ci": [0.96, 0.985], **SHARE}},
        "drop": {
            "metric": "accuracy",
            "value": 0.005,
            "ci": [-0.002, 0.009],
            "p_value": 0.3,
            "test": "mcnemar",
            "relative": False,
            **SHARE,
        },
        "flips": {"lost": 4, "gained": 1},
        "size_bytes": size_bytes,
        "size_ratio": 51.0,
        "parameters": 12,
        "nonzero": 12,
        "macs": 12,
        "latency_ms": {"batch_1": {"p50": 0.01, "p95": 0.02, "p99": 0.03}},
        "cold_latency_ms": {"batch_1": {"p50": 0.04, "max": 0.05}},
        "measured_on": "a0b1",
        "speed_ratio": ratio,
        "speed_ratio_same_runtime": ratio,
        "noise_floor": {},
        "peak_memory_bytes": 5,
        "energy_mj": None,
        "verdict": verdict,
        "reasons": ["the whole interval of the drop lies below 0.01"],
        "release": identity if verdict == "accept" else None,
    }


def published(root, alias="latest"):
    lines = []
    return publish_project(root, PublishParams(alias=alias), lines.append), lines


def one_url(done):
    return done.releases["small-onnxruntime"]


def test_accepted_variants_are_released_and_run_from_the_store(project, store, workload, monkeypatch, tmp_path):
    done, lines = published(project)
    assert set(done.releases) == {"small-onnxruntime", "tiny-onnxruntime"}
    assert json.loads((project / "reports/releases.json").read_text()) == done.releases
    assert done.moved
    assert len(lines) == 3
    alias = read_alias(store, release_base(workload), "latest")
    assert done.releases[f"{alias.variant}-onnxruntime"] == f"s3://slimline/releases/{workload}/{alias.release}/"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for label, url in done.releases.items():
        outputs = load(url).predict(np.ones((2, 3), np.float32))
        assert np.array_equal(outputs, np.full((2, 3), VARIANTS[label.partition("-")[0]], np.float32))
    assert load(done.alias_url).manifest.variant == alias.variant


def test_a_release_holds_card_report_and_checksums_and_the_card_tells_all(project, store, tmp_path):
    folder = fetch_release(one_url(published(project)[0]), tmp_path / "fetched")
    assert {
        "MODEL_CARD.md",
        "ballast.bin",
        "manifest.json",
        "model.onnx",
        "release.json",
        "report.html",
        "machine.json",
        "bom.cdx.json",
    } == {path.name for path in folder.iterdir()}
    assert json.loads((folder / "machine.json").read_text())["cpu"] == "a processor"
    card = (folder / "MODEL_CARD.md").read_text()
    for expected in (
        "small <- teacher",
        "97.50 % [96.00 %, 98.50 %]",
        "20.5 times [19, 22]",
        "the whole interval",
        "runtime.load",
        "## Limits",
        "Times were taken on a processor with 1 thread(s), warm; the first call after other processes had the machine took 0.04 ms",
    ):
        assert expected in card
    assert verify_release(folder, folder.name).variant == "small"


@pytest.mark.slow
def test_publishing_the_same_bytes_again_changes_nothing(project, store, workload):
    first, _ = published(project)
    before = {one.key: one.modified for one in listed(store, f"releases/{workload}/")}
    (project / "reports/stages/evaluate/small-onnxruntime.html").write_text("<title>timed again</title>")
    time.sleep(1.1)
    again, lines = published(project)
    assert {one.key: one.modified for one in listed(store, f"releases/{workload}/")} == before
    assert (again.uploaded, again.moved, again.releases) == ((), False, first.releases)
    assert "as before" in lines[-1]


def test_nothing_accepted_ends_with_3_moves_no_alias_and_empties_the_list(project, store, workload):
    published(project)
    before = read(store, f"releases/{workload}/aliases/latest.json")
    write_summary(project, workload, [row("bad", 1, "x", "reject"), row("small", 1, "x", "inconclusive")])
    with pytest.raises(NothingPassed, match="none of 2 judged variants"):
        published(project)
    assert read(store, f"releases/{workload}/aliases/latest.json") == before
    assert json.loads((project / "reports/releases.json").read_text()) == {}


def test_what_was_not_judged_is_not_published(project, store, workload):
    compile_toy(project / "data/compiled/tiny-onnxruntime", workload, "tiny", 7.0, 0)
    with pytest.raises(ArtifactError, match=r"the report judged .* run `dvc repro`"):
        published(project)
    (project / "data/compiled/small-onnxruntime/model.onnx").write_bytes(b"cut")
    with pytest.raises(ArtifactError, match=r"model\.onnx has sha256"):
        published(project)
    assert listed(store, f"releases/{workload}/") == []


def test_no_report_is_an_input_error(project):
    (project / "reports/summary.json").unlink()
    with pytest.raises(InputError, match="no report to publish from"):
        published(project)


@pytest.mark.slow
def test_kill_9_while_uploading_leaves_no_release_and_the_next_publish_mends_it(project, store, workload, environment, tmp_path):
    write_run(project, workload, VARIANTS, ballast=60_000_000)
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", PUBLISH], cwd=project, env=os.environ | {"PYTHONPATH": path})
    keys = eventually(lambda: [one.key for one in listed(store, f"releases/{workload}/")], every_s=0.005)
    process.kill()
    process.wait()
    left = [one.key for one in listed(store, f"releases/{workload}/")]
    assert keys
    assert len(list_releases(store, release_base(workload))) < 2
    assert not [key for key in left if "/aliases/" in key]
    assert not (project / "reports/releases.json").exists()
    done = subprocess.run([sys.executable, "-m", "tasks.publish"], cwd=project, env=os.environ | {"PYTHONPATH": path}, check=False)
    assert done.returncode == 0
    for url in json.loads((project / "reports/releases.json").read_text()).values():
        assert fetch_release(url, tmp_path / "fetched").is_dir()


@pytest.mark.slow
def test_a_release_without_release_json_or_with_a_lost_file_is_mended(project, store, workload, tmp_path):
    done, _ = published(project)
    for lost in ("release.json", "model.onnx", "report.html", "machine.json"):
        key = one_url(done).removeprefix("s3://slimline/") + lost
        store.client.delete_object(Bucket=store.bucket, Key=key)
        again, _ = published(project)
        assert again.uploaded == ("small-onnxruntime",)
        assert fetch_release(one_url(done), tmp_path / lost).is_dir()


@pytest.mark.slow
def test_publishers_at_once_end_with_whole_releases_and_every_move(project, store, workload, tmp_path):
    roots = [shutil.copytree(project, tmp_path / f"clone-{number}") for number in range(4)]
    for number, root in enumerate(roots):
        (root / "reports/stages/evaluate/small-onnxruntime.html").write_text(f"<title>timed by {number}</title>")
    threads = [threading.Thread(target=published, args=(root, f"alias-{number}")) for number, root in enumerate(roots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list_releases(store, release_base(workload))) == 2
    for number in range(4):
        url = store.url(f"releases/{workload}/aliases/alias-{number}.json")
        assert fetch_release(url, tmp_path / f"fetched-{number}").is_dir()
    assert fetch_release(one_url(published(project)[0]), tmp_path / "fetched").is_dir()


def standing(letter):
    return Standing(release=letter * 20, variant=letter, target="openvino", releases={f"{letter}-openvino": letter * 20})


def test_no_move_of_an_alias_is_lost_in_a_race(store, workload):
    base = release_base(workload)
    threads = [threading.Thread(target=advance, args=(store, base, "latest", standing(letter), SAID)) for letter in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alias = read_alias(store, base, "latest")
    assert {move.release[0] for move in alias.moves} == set("abcdef")
    assert {alias.variant, *(one.variant for one in alias.previous)} == set("abcdef")


def test_no_move_is_forgotten_when_an_alias_has_no_more_room_for_it(store, workload, monkeypatch):
    monkeypatch.setattr(aliases, "KEPT", 2)
    base = release_base(workload)
    for letter in "abcde":
        advance(store, base, "latest", standing(letter), SAID)
    assert [move.release[0] for move in read_alias(store, base, "latest").moves] == ["d", "e"]
    assert [move.release[0] for move in earlier_moves(store, base, "latest", 10)] == ["a", "b", "c"]
    assert [move.release[0] for move in earlier_moves(store, base, "latest", 1)] == ["c"]
    assert earlier_moves(store, base, "latest", -5) == ()


def test_rollback_goes_back_and_publishing_does_not_undo_it_but_promote_does(store, workload):
    base = release_base(workload)
    for letter in "abc":
        assert advance(store, base, "latest", standing(letter), SAID)[1]
    assert rollback(store, base, "latest", SAID).release[0] == "b"
    alias, moved = advance(store, base, "latest", standing("c"), SAID)
    assert not moved
    assert alias.release[0] == "b"
    assert rollback(store, base, "latest", SAID).release[0] == "a"
    with pytest.raises(InputError, match="nothing stood there before"):
        rollback(store, base, "latest", SAID)
    assert promote(store, base, "latest", standing("c"), SAID)[1]
    assert advance(store, base, "latest", standing("c"), SAID)[1] is False
    assert [move.by for move in read_alias(store, base, "latest").moves] == ["publish"] * 3 + ["rollback"] * 2 + ["promote"]
    with pytest.raises(StorageRefused, match="no such alias"):
        rollback(store, base, "other", SAID)


def test_of_two_that_promote_at_once_one_wins_and_the_other_is_told_by_whom(store, workload, monkeypatch):
    base = release_base(workload)
    advance(store, base, "latest", standing("a"), SAID)

    def overtaken(given, key, body, tag):
        monkeypatch.setattr(aliases, "write_if", write_if)
        promote(store, base, "latest", standing("b"), Author(who="the other"))
        return write_if(given, key, body, tag)

    monkeypatch.setattr(aliases, "write_if", overtaken)
    with pytest.raises(StorageRefused, match=r"was moved by the other to b{20} at the same moment.*if it is still wanted"):
        promote(store, base, "latest", standing("c"), SAID)
    moves = read_alias(store, base, "latest").moves
    assert [(move.was and move.was[0], move.release[0], move.who) for move in moves] == [
        (None, "a", SAID.who),
        ("a", "b", "the other"),
    ]


@pytest.mark.parametrize("times", [1, 2])
def test_a_rollback_whose_answer_was_lost_goes_back_once(store, workload, monkeypatch, times):
    base = release_base(workload)
    for letter in "abcd":
        advance(store, base, "latest", standing(letter), SAID)
    session, lost = store.client._endpoint.http_session, []

    def send(request):
        answer = type(session).send(session, request)
        if request.method == "PUT" and len(lost) < times:
            lost.append(answer)
            raise ReadTimeoutError(endpoint_url=request.url)
        return answer

    monkeypatch.setattr(session, "send", send)
    assert rollback(store, base, "latest", SAID).release[0] == "c"
    alias = read_alias(store, base, "latest")
    assert (len(lost), alias.release[0], [move.by for move in alias.moves].count("rollback")) == (times, "c", 1)


@pytest.mark.parametrize("why", ["two\nlines", "\x1b[31mred", "x" * 301])
def test_a_reason_that_a_terminal_would_obey_is_refused(why):
    with pytest.raises(InputError, match="give one line of at most 300 characters"):
        author(why)


@pytest.fixture
def key(tmp_path):
    """A private key and its public half, as openssl makes them."""
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    private.chmod(0o600)
    return private, public


@pytest.mark.slow
def test_a_release_has_a_bill_of_materials(project, tmp_path):
    done, _ = published(project)
    bill = json.loads((fetch_release(one_url(done), tmp_path / "fetched") / "bom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    model = bill["metadata"]["component"]
    assert (model["type"], model["version"]) == ("machine-learning-model", one_url(done).rstrip("/").rpartition("/")[2])
    kinds = {kind: {one["name"]: one for one in bill["components"] if one["type"] == kind} for kind in ("file", "library")}
    fetched = tmp_path / "fetched" / model["version"]
    assert kinds["file"]["model.onnx"]["hashes"] == [{"alg": "SHA-256", "content": sha256_of(fetched / "model.onnx")}]
    assert kinds["library"]["torch"]["purl"].startswith("pkg:pypi/torch@2.13.0")
    assert len(kinds["library"]) > 50


def test_a_signed_release_is_held_to_its_key_and_one_altered_bit_is_found(project, tmp_path, key, monkeypatch):
    private, public = key
    monkeypatch.setenv("SLIMLINE_SIGNING_KEY", str(private))
    done, _ = published(project)
    folder = fetch_release(one_url(done), tmp_path / "fetched")
    verify_signature(folder, public)
    assert "PRIVATE" not in "".join(path.read_text(errors="replace") for path in folder.iterdir())
    (folder / "MODEL_CARD.md").write_text("papers are not signed")
    verify_signature(folder, public)
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ArtifactError, match="its signature does not hold"):
        verify_signature(folder, public)
    other = tmp_path / "other.pub"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "o.pem"], check=True)
    subprocess.run(["openssl", "ec", "-in", tmp_path / "o.pem", "-pubout", "-out", other], check=True, capture_output=True)
    shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match="its signature does not hold"):
        verify_signature(fetch_release(one_url(done), tmp_path / "fetched"), other)


def test_a_key_that_others_read_or_that_is_none_publishes_nothing(project, store, workload, key, monkeypatch):
    private, public = key
    private.chmod(0o644)
    for named, told in ((private, "others can read it"), (public, "is no private elliptic curve key"), (project / "none", "no such file")):
        monkeypatch.setenv("SLIMLINE_SIGNING_KEY", str(named))
        public.chmod(0o600)
        with pytest.raises(InputError, match=told):
            published(project)
    assert list_releases(store, release_base(workload)) == []
    monkeypatch.delenv("SLIMLINE_SIGNING_KEY")
    done, _ = published(project)
    app = typer.Typer()
    app.command()(verify_command)
    told = CliRunner().invoke(app, [one_url(done)], catch_exceptions=False)
    assert "files are as published" in told.output
    with pytest.raises(ArtifactError, match="was published without a key"):
        CliRunner().invoke(app, [one_url(done), "--public-key", str(public)], catch_exceptions=False)


def test_references_mean_an_alias_an_id_or_a_variant_on_a_target(project, store, workload):
    done, _ = published(project)
    base, identity = release_base(workload), one_url(done).rstrip("/").rpartition("/")[2]
    assert resolve(store, base, "latest", "latest").releases.keys() == done.releases.keys()
    assert resolve(store, base, identity[:8], "latest").release == identity
    after, moved = promote_reference(store, base, "small-onnxruntime", SAID, alias="production", source="latest")
    assert (after.release, moved) == (identity, True)
    for wrong in ("nothing", ""):
        with pytest.raises(InputError, match="`slimline releases` lists"):
            resolve(store, base, wrong, "latest")
    store.client.delete_object(Bucket=store.bucket, Key=f"{base}/{identity}/model.onnx")
    with pytest.raises(StorageRefused, match="files are missing"):
        promote_reference(store, base, identity, SAID, alias="production", source="latest")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "MODEL_CARD.md", "report.html"])
def test_an_altered_release_of_the_same_size_is_not_promoted_and_comes_back_by_publishing(project, store, workload, name):
    done, _ = published(project)
    base, identity = release_base(workload), one_url(done).rstrip("/").rpartition("/")[2]
    key = f"{base}/{identity}/{name}"
    body = store.client.get_object(Bucket=store.bucket, Key=key)["Body"].read()
    store.client.put_object(Bucket=store.bucket, Key=key, Body=bytes([body[0] ^ 1]) + body[1:])
    with pytest.raises(StorageRefused, match=rf"{identity}/: was altered: .*; delete .*/{identity}/release\.json and publish again"):
        promote_reference(store, base, identity, SAID, alias="production", source="latest")
    with pytest.raises(StorageRefused, match="no such alias"):
        read_alias(store, base, "production")
    store.client.delete_object(Bucket=store.bucket, Key=f"{base}/{identity}/release.json")
    published(project)
    assert promote_reference(store, base, identity, SAID, alias="production", source="latest")[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "MODEL_CARD.md", "release.json", "all"])
def test_a_tampered_release_is_refused_by_fetch(project, store, tmp_path, name):
    url = one_url(published(project)[0])
    key = url.removeprefix("s3://slimline/")
    if name == "all":  # somebody forges the model, its manifest and release.json so that they fit each other
        forged = compile_toy(tmp_path / "forged", "forged", "small", 666.0, 0)
        release = json.loads(read(store, f"{key}release.json").body)
        for path in forged.iterdir():
            put_bytes(store, key + path.name, path.read_bytes())
            release["files"][path.name] = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
        put_bytes(store, f"{key}release.json", json.dumps(release).encode())
    else:
        body = read(store, key + name).body
        put_bytes(store, key + name, body.replace(b"small", b"snall") if b"small" in body else body[:-1] + b"!")
    with pytest.raises((ArtifactError, StorageRefused), match=r"altered|damaged|sha256"):
        fetch_release(url, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists() or not list((tmp_path / "fetched").iterdir())


def test_a_file_name_that_leaves_the_folder_is_refused(project, store, tmp_path):
    url = one_url(published(project)[0])
    key = url.removeprefix("s3://slimline/") + "release.json"
    release = json.loads(read(store, key).body)
    release["files"]["../../evil"] = {"sha256": "0" * 64, "size_bytes": 1}
    put_bytes(store, key, json.dumps(release).encode())
    with pytest.raises(StorageRefused, match="damaged"):
        fetch_release(url, tmp_path / "fetched")


def test_a_fetched_copy_is_used_again_without_the_store_until_it_is_damaged(project, store, monkeypatch, tmp_path):
    url = one_url(published(project)[0])
    folder = fetch_release(url, tmp_path / "fetched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        assert fetch_release(url, tmp_path / "fetched") == folder
    (folder / "model.onnx").write_bytes(b"damaged")
    assert verify_release(fetch_release(url, tmp_path / "fetched"), folder.name)


@pytest.mark.slow
def test_the_commands_tell_people_and_machines(project, workload):
    app = typer.Typer()
    for command in (publish_command, releases_command, promote_command, rollback_command, history, gc, s3):
        app.command(command.__name__)(command)

    def call(*arguments):
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    assert "now points at" in call("publish")
    assert json.loads(call("publish", "--json"))["moved"] is False
    shown = call("releases")
    assert "accuracy 0.9750" in shown
    assert "[0.9600, 0.9850]" in shown
    listing = json.loads(call("releases", "--json"))
    assert sorted(one["aliases"] for one in listing) == [[], ["latest"]]
    assert "now points at" in call("promote", "latest", "--alias", "production")
    assert "points already at" in call("promote", "latest", "--alias", "production")
    other = next(one for one in listing if not one["aliases"])
    assert json.loads(call("promote", other["release"][:10], "--json"))["variant"] == other["variant"]
    assert "again" in call("rollback", "--why", "slower at noon")
    assert [one["event"] for one in json.loads(call("history", "--json"))].count("released") == 2
    assert {"publish", "promote", "rollback"} <= {one["event"] for one in json.loads(call("history", "--json"))}
    assert "rollback" in call("history", "--limit", "5")
    (back,) = [one for one in json.loads(call("history", "--json")) if one["event"] == "rollback"]
    assert (back["why"], back["was"], "@" in back["who"]) == ("slower at noon", other["release"], True)
    assert "0 of 2 would go: 0 bytes" in call("gc", "--dry-run")
    assert len(json.loads(call("gc", "--json"))["kept"]) == 2
    assert "your own S3" in call("s3")
    assert json.loads(call("s3", "--json"))["embedded"] is False


def test_commands_about_releases_take_another_params_file(project, workload, store):
    other = {"workload": f"{workload}-other", "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}}
    (project / "params").mkdir()
    (project / "params/other.yaml").write_text(json.dumps(other | {"publish": {"alias": "candidate"}}))
    of_other, base = ["--params", "params/other.yaml"], release_base(f"{workload}-other")

    def call(command, *arguments):
        app = typer.Typer()
        app.command()(command)
        return CliRunner().invoke(app, [*arguments, *of_other], catch_exceptions=False).output

    with pytest.raises(InputError, match=rf"'{workload}', params/other\.yaml is of '{workload}-other'; bring its run in"):
        call(publish_command)
    assert listed(store, f"{base}/") == []
    write_run(project, f"{workload}-other", VARIANTS)
    assert f"{base}/aliases/candidate.json now points at" in call(publish_command)
    write_run(project, f"{workload}-other", {"small": 3.0, "tiny": 2.0})
    call(publish_command)
    first = read_alias(store, base, "candidate").previous[0].release
    assert f"({first}) again" in call(rollback_command)
    assert "now points at" in call(promote_command, "small-onnxruntime")
    assert len(json.loads(call(gc, "--json"))["kept"]) == 3
    assert listed(store, f"releases/{workload}/") == []
    of_other[1] = "params/none.yaml"
    for command in (publish_command, rollback_command, gc):
        with pytest.raises(InputError, match=r"--params params/none\.yaml: no such file in .*params/other\.yaml"):
            call(command)


@pytest.mark.parametrize(("command", "arguments"), [(publish_command, []), (promote_command, ["latest"]), (rollback_command, [])])
@pytest.mark.parametrize("alias", ["BAD!", "", "../latest", "a" * 65])
def test_what_is_no_name_of_an_alias_is_one_line(project, command, arguments, alias):
    app = typer.Typer()
    app.command()(command)
    with pytest.raises(InputError, match=r"^--alias '.*': no name of an alias; give small letters, digits and hyphens, .*$"):
        CliRunner().invoke(app, [*arguments, "--alias", alias], catch_exceptions=False)


@pytest.mark.parametrize(("command", "code"), [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["true"], 0)])
def test_s3_passes_the_commands_exit_code_on(project, command, code):
    app = typer.Typer()
    app.command()(s3)
    assert CliRunner().invoke(app, ["--", *command]).exit_code == code


@pytest.mark.slow
def test_dvc_pushes_and_pulls_with_the_environment_alone(project, environment):
    shutil.copytree(REPOSITORY / ".dvc", project / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    subprocess.run(["git", "init", "-q", "."], cwd=project, check=True)
    (project / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: sha256sum params.yaml > out.txt\n    deps: [params.yaml]\n    outs: [out.txt]\n"
    )

    def dvc(*arguments):
        everywhere = {name: str(project / ".dvc/tmp") for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")}
        return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=project, env=os.environ | everywhere, check=False).returncode

    assert dvc("repro", "-q") == 0
    body = (project / "out.txt").read_text()
    assert dvc("push", "-q", "--run-cache") == 0
    shutil.rmtree(project / ".dvc/cache")
    (project / "out.txt").unlink()
    assert dvc("pull", "-q") == 0
    assert (project / "out.txt").read_text() == body


def test_the_alias_prefers_the_smallest_that_carries_no_code() -> None:
    def draft(target: str, size_bytes: int) -> Draft:
        release = Release(release=f"{size_bytes:020x}", workload="w", variant="v", target=target, precision="int8", size_bytes=size_bytes)
        return Draft(release, {}, {})

    drafts = [draft("inductor", 1), draft("torchscript", 2), draft("openvino", 4), draft("onnxruntime", 3)]
    assert preferred_standing(drafts).target == "onnxruntime"
    assert preferred_standing(drafts[:2]).target == "inductor"
    assert len(preferred_standing(drafts).releases) == 4
