"""What the cleaning before a run may remove: results of stages that are gone, byte for byte as they were made, and nothing else."""

import shutil
from pathlib import Path

import pytest
import yaml

from flows.cache import Cache, hash_of, made, made_by
from flows.dag import read_dag
from flows.heal import snapshot
from flows.kept import keep_foreign
from flows.orphans import remove_orphans

OWN = (
    "data/models/mine/weights.safetensors",
    "data/models/mine.safetensors",
    "data/models/q8-copy/model",
    "data/compiled/mine-onnxruntime/model.onnx",
    "data/evaluated/notes.csv",
    "reports/stages/mine/page.md",
    "reports/metrics/quantize/mine.json",
)


def everything(root: Path) -> dict[str, bytes]:
    files = (path for top in ("data", "reports") for path in (root / top).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("q8" if "copy" in name else "somebody's own")


def without(root: Path, *variants: str) -> None:
    """Take variants out of params.yaml and dvc.yaml's report, as a user does."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    for section in ("prune", "quantize"):
        params[section] = {name: value for name, value in params[section].items() if name not in variants}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    text = (root / "dvc.yaml").read_text()
    for name in variants:
        text = text.replace(f", data/models/{name}]", "]").replace(f" data/models/{name},", "")
    (root / "dvc.yaml").write_text(text)


def test_a_variant_that_left_goes_and_comes_back_from_the_cache(finished):
    root, before = finished.root, everything(finished.root)
    without(root, "q8")
    cleaned = remove_orphans(root, read_dag(root))
    assert cleaned.removed == tuple(f"removed {name}: no stage makes it now" for name in ("data/models/q8", "reports/stages/q8/q8.md"))
    assert cleaned.left == ()
    assert everything(root) == {name: body for name, body in before.items() if "q8" not in name}
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(finished.original / name, root / name)
    assert "q8 works" not in finished.dvc("repro")
    assert everything(root) == before


def test_what_no_stage_made_is_named_and_left(finished):
    root = finished.root
    write(root, *OWN)
    (root / "data/models/link").symlink_to(root / "data/models/teacher")
    (root / "data/models/empty").mkdir()
    before = everything(root)
    without(root, "q8")
    cleaned = remove_orphans(root, read_dag(root))
    assert len(cleaned.removed) == 2
    assert everything(root) == {name: body for name, body in before.items() if "/q8/" not in name}
    assert (root / "data/models/link").is_symlink()
    told = "\n".join(cleaned.left)
    assert all(
        name in told for name in ("mine", "mine.safetensors", "q8-copy", "mine-onnxruntime", "notes.csv", "page.md", "link", "empty")
    )
    assert remove_orphans(root, read_dag(root)).left == cleaned.left


CHANGES = {
    "another byte": lambda root, _: (root / "data/models/q8/model").write_text("tuned by hand"),
    "one more file": lambda root, _: (root / "data/models/q8/notes.md").write_text("mine"),
    "one file less": lambda root, _: (root / "data/models/q8/model").unlink(),
    "a link to elsewhere": lambda root, _: (
        (root / "data/models/q8/model").unlink(),
        (root / "data/models/q8/model").symlink_to("/etc/hostname"),
    ),
    "its bytes are in no cache": lambda root, cache: cache.path(object_of(root, "q8")).unlink(),
    "its bytes in the cache are damaged": lambda root, cache: damage(cache.path(object_of(root, "q8"))),
    "its list is in no cache": lambda root, cache: cache.path(
        made_by((root / "dvc.lock").read_text(), "quantize@q8")["data/models/q8"]
    ).unlink(),
    "no cache": lambda _, cache: shutil.rmtree(cache.folder),
}


def object_of(root: Path, variant: str) -> str:
    cache = Cache(root / ".dvc/cache")
    return cache.listing(hash_of(root / "data/models" / variant, cache) or "")["model"]


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"?")


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_that_could_not_come_back_is_left(finished, change):
    root = finished.root
    CHANGES[change](root, Cache(root / ".dvc/cache"))
    before = everything(root)
    without(root, "q8")
    cleaned = remove_orphans(root, read_dag(root))
    assert any("q8" in line and "data/models" in line for line in cleaned.left)
    assert {name: body for name, body in before.items() if name.startswith("data")} == {
        name: body for name, body in everything(root).items() if name.startswith("data")
    }


def test_the_run_cache_and_the_last_copy_know_results_that_dvc_lock_does_not(finished):
    root = finished.root
    without(root, "q8", "p50")
    snapshot(root)
    (root / "dvc.lock").unlink()
    assert len(remove_orphans(root, read_dag(root)).removed) == 4
    (root / ".dvc/tmp/dvc.lock.good").unlink()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(finished.original / name, root / name)
    finished.dvc("repro", "-q")
    without(root, "q8")
    (root / "dvc.lock").unlink()
    assert len(remove_orphans(root, read_dag(root)).removed) == 2


def test_what_dvc_tracks_otherwise_is_none_of_the_lines_business(finished):
    root = finished.root
    write(root, "data/models/added", "data/compiled/other/out")
    (root / ".gitignore").write_text("/.slimline/\n/flows\n")
    finished.dvc("add", "-q", "data/models/added")
    (root / "other").mkdir()
    (root / "other/dvc.yaml").write_text(
        "stages:\n  foreign:\n    cmd: mkdir -p ../data/evaluated/far\n    outs: [../data/evaluated/far]\n"
    )
    finished.dvc("repro", "-q", "other/dvc.yaml:foreign")
    cleaned = remove_orphans(root, read_dag(root))
    assert cleaned.removed == ()
    assert len(cleaned.left) == 1
    assert "other in data/compiled" in cleaned.left[0]


def test_the_hash_of_a_folder_is_dvcs(finished):
    """Nested folders, names that sort otherwise as paths, empty files, names that JSON and YAML escape."""
    root = finished.root
    names = ("a/b", "a-b", "a.b/c", "ä/ü", "quote'\"", "a b", "#x: y", "empty")
    write(root, *(f"mine: 'q'/{name}" for name in names))
    (root / "mine: 'q'/empty").write_bytes(b"")
    text = (root / "dvc.yaml").read_text() + "  own:\n    cmd: 'true'\n    deps: [params.yaml]\n    outs: [\"mine: 'q'\"]\n"
    (root / "dvc.yaml").write_text(text)
    finished.dvc("commit", "-q", "-f", "own")
    lock = (root / "dvc.lock").read_text()
    assert made_by(lock, "own") == {"mine: 'q'": hash_of(root / "mine: 'q'", Cache(root / ".dvc/cache"))}
    stages = yaml.safe_load(lock)["stages"]
    assert {name: made_by(lock, name) for name in stages} == {
        name: {out["path"]: out["md5"] for out in stages[name]["outs"]} for name in stages
    }
    assert dict(made(lock)) == {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def test_files_in_a_living_stages_folder_are_moved_before_dvc_removes_it(finished):
    root = finished.root
    write(root, "data/models/p50/notes.md", "data/models/p50/deep/weights.safetensors")
    (root / "data/models/q8/model").write_text("tuned by hand")
    lines = keep_foreign(root, root, read_dag(root))
    assert len(lines) == 3
    assert all("moved data/models/" in line and ".slimline/kept/" in line for line in lines)
    assert finished.dvc("repro").count("works") == 0
    assert everything(root) == everything(finished.original)
    kept = {
        path.relative_to(next((root / ".slimline/kept").iterdir())).as_posix()
        for path in (root / ".slimline/kept").rglob("*")
        if path.is_file()
    }
    assert kept == {"data/models/p50/notes.md", "data/models/p50/deep/weights.safetensors", "data/models/q8/model"}
    assert keep_foreign(root, root, read_dag(root)) == ()


def test_what_the_stages_made_themselves_is_never_moved(finished):
    root = finished.root
    text = (root / "params.yaml").read_text().replace("ratio: 0.5", "ratio: 0.6")
    (root / "params.yaml").write_text(text)
    shutil.rmtree(root / ".dvc/cache")
    assert keep_foreign(root, root, read_dag(root)) == ()
