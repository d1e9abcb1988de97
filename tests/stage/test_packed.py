"""A packed variant on its whole way: pruned, stored, a source of others, compiled, loaded; equal to its plain twin, in fewer bytes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slimline import runtime
from slimline.artifact.folder import folder_bytes
from slimline.artifact.variant import load_variant
from slimline.artifact.weight_header import FILES
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_batch
from slimline.stage import stage_main
from slimline.workloads import get_workload
from tasks import calibrate, prune, teacher
from tasks import compile as compile_stage
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
PRUNED = {"source": "teacher", "method": "magnitude", "fraction": 0.9, "recover": {"epochs": 1}}
PACKINGS = ("sparse", "entropy")
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 8, "batch_size": 32},
    "calibrate": {"samples": 40, "batch_size": 20},
    "prune": {
        "plain": PRUNED,
        "sparse": PRUNED | {"pack": "sparse"},
        "entropy": PRUNED | {"pack": "entropy"},
        "again": {"source": "entropy", "method": "channels", "ratio": 0.5, "recover": {"epochs": 0}},
    },
    "deploy": {"variants": ["teacher", "plain", *PACKINGS], "targets": ["eager", "onnxruntime"]},
}


def compile_for(variant: str, target: str) -> Path:
    stage_main("compile", compile_stage.main, None, ["--variant", variant, "--target", target], per="pair")
    return Path(f"data/compiled/{variant}-{target}")


@pytest.fixture(scope="module")
def made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder in which the teacher and every pruned variant have been made."""
    folder = tmp_path_factory.mktemp("line")
    prepare_project(folder, project, PARAMS, WORKLOAD)
    mode = torch.get_deterministic_debug_mode()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_main("teacher", teacher.main, None, [])
        stage_main("calibrate", calibrate.main, None, [])
        for name in PARAMS["prune"]:
            stage_main("prune", prune.main, None, ["--variant", name], per="variant")
        yield folder
    torch.set_deterministic_debug_mode(mode)


@pytest.fixture(autouse=True)
def _in_it(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


@pytest.mark.parametrize("pack", PACKINGS)
def test_the_same_weights_from_a_fifth_of_the_bytes(pack: str) -> None:
    plain, packed = (load_variant(Path("data/models") / name, WORKLOAD).model.state_dict() for name in ("plain", pack))
    assert all(torch.equal(value, plain[name]) for name, value in packed.items())
    metrics, twin = (json.loads(Path(f"reports/metrics/prune/{name}.json").read_text()) for name in (pack, "plain"))
    assert metrics["validation"] == twin["validation"]
    assert metrics["size_bytes"] == folder_bytes(Path("data/models") / pack) < twin["size_bytes"] / 5
    stored = (Path("data/models") / pack / FILES[pack]).stat().st_size
    assert (metrics["packing"]["stored_bytes"], "packing" in twin) == (stored, False)
    page = Path(f"reports/stages/prune/{pack}.md").read_text()
    assert f"{stored:,}" in page
    assert f"{metrics['packing']['plain_bytes']:,}" in page
    assert "Smaller to ship, not faster" in page


@pytest.mark.parametrize("pack", PACKINGS)
def test_the_eager_target_ships_it_packed_and_predicts_the_same(pack: str) -> None:
    plain, packed = compile_for("plain", "eager"), compile_for(pack, "eager")
    assert {path.name for path in packed.iterdir()} == {"manifest.json", FILES[pack]}
    assert folder_bytes(packed) < folder_bytes(plain) / 5
    inputs = as_arrays(load_batch(WORKLOAD.samples, "validation", 1000))
    assert np.array_equal(runtime.load(packed).predict(inputs), runtime.load(plain).predict(inputs))
    assert np.array_equal(runtime.load(Path("data/models") / pack).predict(inputs), runtime.load(plain).predict(inputs))
    metrics = json.loads(Path(f"reports/metrics/compile/{pack}-eager.json").read_text())
    assert metrics["weight_bytes"] == (packed / FILES[pack]).stat().st_size < metrics["float32_weight_bytes"] / 5
    assert "Weights, plain and packed" in Path(f"reports/stages/compile/{pack}-eager.md").read_text()


def test_onnx_runtime_gets_it_unpacked() -> None:
    packed = compile_for("sparse", "onnxruntime")
    assert folder_bytes(packed) > 5 * folder_bytes(Path("data/models/sparse")), "no runtime but eager reads packed weights"
    inputs = as_arrays(load_batch(WORKLOAD.samples, "validation", 1000))
    expected = runtime.load(Path("data/models/plain")).predict(inputs)
    np.testing.assert_allclose(runtime.load(packed).predict(inputs), expected, atol=1e-4)
    assert "Weights, plain and packed" not in Path("reports/stages/compile/sparse-onnxruntime.md").read_text()


def test_a_packed_variant_is_a_source_like_any_other() -> None:
    again = load_variant(Path("data/models/again"), WORKLOAD)
    assert again.manifest.lineage == ("again", "entropy", "teacher")
    assert again.manifest.packing is None
    parameters = sum(value.numel() for value in again.model.parameters())
    assert parameters < sum(value.numel() for value in load_variant(Path("data/models/plain"), WORKLOAD).model.parameters()) / 2
