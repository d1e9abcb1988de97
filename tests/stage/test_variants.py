"""Stages calibrate, prune, factorize and distill, run as DVC runs them, on the tabular workload."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.artifact.folder import checksums
from slimline.artifact.variant import load_variant
from slimline.calibration.statistics import load_statistics
from slimline.stage import stage_main
from slimline.workloads import get_workload
from tasks import calibrate, distill, factorize, prune, teacher
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
STAGES = {"prune": prune, "factorize": factorize, "distill": distill}
STUDENT = {"student": {"widths": [32, 16]}, "epochs": 25, "batch_size": 32}
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 20, "batch_size": 32},
    "calibrate": {"samples": 100, "batch_size": 24},
    "prune": {
        "narrow": {"source": "teacher", "method": "channels", "ratio": 0.5, "recover": {"epochs": 2}},
        "sparse": {"source": "teacher", "method": "magnitude", "fraction": 0.8, "recover": {"epochs": 2}},
        "narrow-sparse": {"source": "narrow", "method": "magnitude", "fraction": 0.5, "scope": "local", "recover": {"epochs": 1}},
        "idle": {"source": "teacher", "method": "channels", "ratio": 0, "recover": {"epochs": 0}},
        "empty": {"source": "teacher", "method": "magnitude", "threshold": 1000},
        "nowhere": {"source": "teacher", "method": "channels", "ratio": 0.5, "keep": ["nosuch*"]},
        "stuck": {"source": "teacher", "method": "channels", "ratio": 0.1, "round_to": 512},
        "quiet": {"source": "teacher", "method": "methods/quiet.py:quiet", "share": 0.3, "recover": {"epochs": 2}},
        "own-mistake": {"source": "teacher", "method": "methods/mistake.py:quiet"},
    },
    "factorize": {
        "thin": {"source": "teacher", "method": "svd", "rank": 8},
        "thick": {"source": "teacher", "method": "svd", "rank": 300},
    },
    "distill": {
        "small": {"source": "narrow", "method": "soft_targets", **STUDENT},
        "small-scratch": {"source": "narrow", "method": "scratch", "control_of": "small", **STUDENT},
        "large": {"source": "teacher", "method": "soft_targets", "student": {"widths": [900, 900]}, "epochs": 1},
    },
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]},
}
MADE = (
    *("prune@narrow", "prune@sparse", "prune@narrow-sparse", "prune@idle", "prune@quiet"),
    *("factorize@thin", "distill@small", "distill@small-scratch"),
)


def lay_own_methods(folder: Path, project: Path) -> None:
    """The method of docs/add-a-method.md, and one with a mistake in it."""
    (code,) = re.findall(r"```python\n(.*?)```", (project / "docs/add-a-method.md").read_text(), re.S)
    (folder / "methods").mkdir()
    (folder / "methods/quiet.py").write_text(code)
    (folder / "methods/mistake.py").write_text(code.replace("order = ", "order = nothing or "))


def run_stage(name: str) -> None:
    stage, _, variant = name.partition("@")
    stage_main(stage, STAGES[stage].main, None, ["--variant", variant], per="variant")


def read(stage: str, variant: str) -> dict[str, Any]:
    return json.loads(Path(f"reports/metrics/{stage}/{variant}.json").read_text())


@pytest.fixture(scope="module")
def made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder in which teacher, calibrate and every variant of MADE have run."""
    folder = tmp_path_factory.mktemp("line")
    prepare_project(folder, project, PARAMS, WORKLOAD)
    lay_own_methods(folder, project)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_main("teacher", teacher.main, None, [])
        stage_main("calibrate", calibrate.main, None, [])
        for name in MADE:
            run_stage(name)
        yield folder
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(autouse=True)
def _in_it(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


@pytest.mark.parametrize("name", MADE)
def test_every_variant_has_artifact_metrics_and_page_that_agree(name: str) -> None:
    stage, _, variant = name.partition("@")
    loaded, metrics = load_variant(Path("data/models") / variant, WORKLOAD), read(stage, variant)
    config = PARAMS[stage][variant]
    assert (loaded.manifest.stage, loaded.manifest.source, loaded.manifest.method) == (stage, config["source"], config["method"])
    assert loaded.manifest.lineage[-1] == "teacher"
    assert metrics["parameters"] == sum(value.numel() for value in loaded.model.parameters())
    assert metrics["baseline"]["parameters"] == read("teacher", "teacher")["parameters"]
    assert metrics["teacher_validation"] == read("teacher", "teacher")["validation"]
    assert 0.5 < metrics["validation"]["accuracy"] <= 1
    for ending in ("md", "html"):
        text = Path(f"reports/stages/{stage}/{variant}.{ending}").read_text()
        assert f"{metrics['parameters']:,}" in text
        assert config["source"] in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prune@narrow", "factorize@thin", "distill@small"])
def test_a_second_run_gives_the_same_bytes(name: str, made: Path) -> None:
    stage, _, variant = name.partition("@")
    files = [Path(f"reports/metrics/{stage}/{variant}.json"), *(Path(f"reports/stages/{stage}/{variant}.{e}") for e in ("md", "html"))]
    model = Path("data/models") / variant
    before = checksums(model), (model / "manifest.json").read_bytes(), [file.read_bytes() for file in files]
    run_stage(name)
    assert (checksums(model), (model / "manifest.json").read_bytes(), [file.read_bytes() for file in files]) == before


def test_recovery_keeps_every_zero_also_along_a_chain() -> None:
    sparse = read("prune", "sparse")
    assert sparse["nonzero"] < 0.25 * sparse["baseline"]["nonzero"]
    assert sparse["training"]["epochs"] == 2
    chained = load_variant(Path("data/models/narrow-sparse"), WORKLOAD).model
    weights = [layer.weight for layer in chained.modules() if isinstance(layer, torch.nn.Linear)]
    assert all(int((weight == 0).sum()) >= weight.numel() // 2 for weight in weights)
    assert weights[0].shape == (256, 30)


def test_strength_zero_is_the_source_itself() -> None:
    idle, source = (load_variant(Path("data/models") / name, WORKLOAD).model.state_dict() for name in ("idle", "teacher"))
    assert all(torch.equal(value, source[name]) for name, value in idle.items())


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("prune@empty", 1, r"error: prune\.empty: layer '1' would lose all its [\d,]+ weights at threshold 1000"),
        ("prune@nowhere", 2, r"error: params\.yaml: prune\.nowhere: keep: 'nosuch\*' matches no layer"),
        ("prune@other", 2, r"params\.yaml: no variant 'other' under prune; there are: .*narrow"),
        ("prune@stuck", 1, r"prune\.stuck: did not shrink 'teacher': parameters ([\d,]+) -> \1, MACs"),
        ("prune@own-mistake", 2, r"error: method 'methods/mistake\.py:quiet': quiet raised NameError: .* \(mistake\.py, line 38\)"),
        ("factorize@thick", 1, r"factorize\.thick: none of 4 layers gets smaller at rank 300"),
        ("distill@large", 1, r"distill\.large: did not shrink 'teacher': parameters"),
    ],
)
def test_what_cannot_be_made_fails_with_its_place_in_params_and_leaves_nothing(
    name: str, code: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_stage(name)
    assert exit_.value.code == code
    assert re.search(words, caplog.text), caplog.text
    assert not Path("data/models", name.partition("@")[2]).exists()


def test_the_control_starts_from_the_same_student() -> None:
    small, control = (read("distill", name) for name in ("small", "small-scratch"))
    assert small["parameters"] == control["parameters"]
    assert _weights("small") != _weights("small-scratch")
    manifest = load_variant(Path("data/models/small"), WORKLOAD).manifest
    assert manifest.architecture.role == "student"
    assert manifest.lineage == ("small", "narrow", "teacher")


def test_calibrate_says_what_really_ran_where_more_was_asked_for() -> None:
    metrics, statistics = read("calibrate", "calibrate"), load_statistics(Path("data/calibration"))
    assert (metrics["samples_run"], metrics["batches_run"]) == (60, 3) == (statistics.samples_run, statistics.batches_run)
    page = Path("reports/stages/calibrate/calibrate.md").read_text()
    assert "60 samples really ran, in 3 batches" in page
    assert "100 were asked for" in page
    effects = json.loads(Path("data/calibration/sensitivity.json").read_text())
    assert set(effects["layers"]) == set(statistics.layers) == {"1", "4", "7", "10"}


def _weights(variant: str) -> str:
    return checksums(Path("data/models") / variant)["weights.safetensors"]
