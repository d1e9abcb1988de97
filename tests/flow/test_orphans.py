"""A variant that left params.yaml leaves the workspace too; everything that a stage makes stays."""

from pathlib import Path

from flows.dag import Dag, Node
from flows.orphans import remove_orphans


def made(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")


def test_only_what_no_stage_makes_is_removed(tmp_path: Path) -> None:
    outs = ("data/models/int8", "reports/stages/quantize/int8.md", "reports/metrics/quantize/int8.json")
    kept = ("data/models/int8/weights.safetensors", *outs[1:], "data/README.md", "data/models/.draft/half", "reports/templates/page.css")
    made(tmp_path, *kept, "data/models/gone/weights.safetensors", "reports/stages/quantize/gone.md", "reports/metrics/quantize/gone.json")
    dag = Dag({"quantize@int8": Node("quantize@int8", (), outs, True, 1, False)}, None, tmp_path)
    told = remove_orphans(tmp_path, dag)
    assert len(told) == 3
    assert all("gone" in line for line in told)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)
    assert remove_orphans(tmp_path, dag) == ()
