"""What a disk damaged in DVC's cache or in the workspace is found, dropped and made again; what is whole is left alone."""

import json
import shutil
from pathlib import Path

import pytest

from flows.cache import Cache, made_by
from flows.dag import read_dag
from flows.mend import before, drop_damaged_lists, drop_unreadable, forget, mend, restored_well
from slimline.artifact.folder import sha256_of
from tests.flow.conftest import flip

STAGES = ("teacher", "prune@p50", "quantize@q8", "report")


def cache_of(root: Path) -> Cache:
    return Cache(root / ".dvc/cache")


def list_of(root: Path, stage: str = "teacher", out: str = "data/models/teacher") -> Path:
    return cache_of(root).path(made_by((root / "dvc.lock").read_text(), stage)[out])


def object_of(root: Path, stage: str = "teacher", out: str = "data/models/teacher") -> Path:
    listing = cache_of(root).listing(made_by((root / "dvc.lock").read_text(), stage)[out])
    assert listing is not None
    return cache_of(root).path(next(iter(listing.values())))


def cut(path: Path, keep: int = 0) -> None:
    body = path.read_bytes()[:keep]
    path.unlink()
    path.write_bytes(body)
    path.chmod(0o444)


def whole(finished) -> bool:
    models = ("teacher", "p50", "q8", "report")
    return all((finished.root / "data/models" / name / "model").read_text() == name for name in models)


DAMAGES = {
    "a flipped bit": lambda root: flip(object_of(root)),
    "cut to nothing": lambda root: cut(object_of(root)),
    "cut short": lambda root: cut(object_of(root), 3),
    "a page's flipped bit": lambda root: flip(object_of(root, out="reports/stages/teacher/teacher.md")),
    "a page cut short": lambda root: cut(object_of(root, out="reports/stages/teacher/teacher.md"), 3),
}


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "known_by"), [*((name, "dvc.lock") for name in DAMAGES), ("cut short", "the run cache")])
def test_a_damaged_object_that_was_restored_is_dropped_and_its_stage_runs(finished, damage, known_by):
    """As flows.stages does it around each `dvc repro`; DVC alone calls the result up to date."""
    root, cache = finished.root, cache_of(finished.root)
    DAMAGES[damage](root)
    for folder in ("data", "reports"):
        shutil.rmtree(root / folder)
    if known_by == "the run cache":
        (root / "dvc.lock").unlink()
    earlier = before(root, cache)
    assert "is cached - skipping run" in finished.dvc("repro", "--single-item", "teacher")
    assert not restored_well(root, "teacher", cache, earlier)
    assert len(forget(root, "teacher", cache, earlier)) == 1
    assert "teacher works" in finished.dvc("repro", "--single-item", "--force", "teacher")
    assert restored_well(root, "teacher", cache, before(root, cache))
    said = finished.dvc("repro")
    assert "works" not in said
    assert whole(finished)
    shutil.rmtree(root / "data")
    assert "works" not in finished.dvc("repro")
    assert whole(finished)


def test_what_is_restored_whole_passes(finished):
    root, cache = finished.root, cache_of(finished.root)
    for folder in ("data", "reports"):
        shutil.rmtree(root / folder)
    earlier = before(root, cache)
    finished.dvc("repro", "-q")
    assert all(restored_well(root, stage, cache, earlier) for stage in STAGES)
    assert mend(root, cache, STAGES) == ()
    assert drop_damaged_lists(cache) == ()
    assert drop_unreadable(cache) == ()


@pytest.mark.slow
@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
@pytest.mark.parametrize("where", ["workspace", "cache"])
def test_damage_that_dvc_does_not_see_is_mended(finished, link, where):
    root, cache = finished.root, cache_of(finished.root)
    finished.dvc("config", "cache.type", link)
    finished.dvc("checkout", "--relink", "-q")
    flip((root / "data/models/p50/model").resolve() if where == "workspace" else object_of(root, "prune@p50", "data/models/p50"))
    lines = mend(root, cache, STAGES)
    if where == "cache" and link == "copy":
        assert lines == ()
        return
    assert len(lines) == (1 if link == "copy" else 2)
    said = finished.dvc("repro")
    assert said.count("works") == (0 if link == "copy" else 1)
    assert whole(finished)
    assert finished.dvc("status").strip() == "Data and pipelines are up to date."


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff\xfe", b'[{"md5": "0"}]'])
def test_a_damaged_list_of_a_folder_is_dropped(finished, body):
    root, path = finished.root, list_of(finished.root)
    path.chmod(0o644)
    path.write_bytes(body)
    path.chmod(0o444)
    assert len(drop_damaged_lists(cache_of(root))) == 1
    assert mend(root, cache_of(root), STAGES) == ()
    finished.dvc("repro", "-q")
    assert whole(finished)
    assert finished.dvc("status").strip() == "Data and pipelines are up to date."


def test_a_run_cache_that_dvc_stops_at_is_dropped(finished):
    root, cache = finished.root, cache_of(finished.root)
    first, *others = cache.finished()
    first.unlink()
    for entry in others:
        entry.write_bytes(b"\x00\xff{")
    (root / "dvc.lock").unlink()
    assert len(drop_unreadable(cache)) == len(STAGES)
    finished.dvc("repro", "-q")
    assert whole(finished)


@pytest.mark.slow
def test_a_damaged_artifact_that_dvc_took_for_a_new_one_is_made_again(finished):
    """DVC writes the checksum of a restored file of another length into dvc.lock; then only the manifest knows."""
    root = finished.root
    write_manifest = "import hashlib, json, pathlib; f = pathlib.Path('data/models/teacher'); f.mkdir(parents=True, exist_ok=True); "
    write_manifest += "(f / 'model').write_text('teacher'); h = hashlib.sha256(b'teacher').hexdigest(); "
    write_manifest += "(f / 'manifest.json').write_text(json.dumps({'files': {'model': h}}))"
    (root / "make.py").write_text(write_manifest)
    text = (
        (root / "dvc.yaml")
        .read_text()
        .replace("cmd: python -m tasks.dummy teacher 0.2", "cmd: python -m tasks.dummy teacher 0 && python make.py")
    )
    (root / "dvc.yaml").write_text(text)
    finished.dvc("repro", "-q")
    (root / "data/models/teacher/model").write_text("tea")
    finished.dvc("commit", "-q", "-f", "teacher")
    finished.dvc("repro", "-q")
    assert all(node.clean for node in read_dag(root).nodes.values())
    assert mend(root, cache_of(root), STAGES)
    finished.dvc("repro", "-q")
    manifest = json.loads((root / "data/models/teacher/manifest.json").read_text())
    assert sha256_of(root / "data/models/teacher/model") == manifest["files"]["model"]
    assert mend(root, cache_of(root), STAGES) == ()


def test_a_manifest_that_lists_no_files_denies_none(finished):
    """That of the prepared samples says what their columns are, and no checksum."""
    root = finished.root
    (root / "make.py").write_text("import pathlib; pathlib.Path('data/models/teacher/manifest.json').write_text('{\"splits\": {}}')")
    text = (root / "dvc.yaml").read_text()
    text = text.replace("cmd: python -m tasks.dummy teacher 0.2", "cmd: python -m tasks.dummy teacher 0 && python make.py")
    (root / "dvc.yaml").write_text(text)
    finished.dvc("repro", "-q")
    assert (root / "data/models/teacher/manifest.json").is_file()
    assert mend(root, cache_of(root), STAGES) == ()
