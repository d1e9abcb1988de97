"""DVC does not follow imports: each stage's deps must hold every file that it reaches."""

from pathlib import Path

import grimp
import pytest
import yaml

STAGES = (
    *("data", "look", "teacher", "calibrate", "prune", "quantize", "factorize", "teach", "distill"),
    *("compile", "evaluate", "cache", "harness", "machine", "time", "report"),
)
INERT = {"slimline", "slimline.report", "slimline.storage", "slimline.artifact", "slimline.calibration", "slimline.measure"}
"""Packages whose __init__ holds a docstring and at most a version."""

CHECKED_BYTES = "slimline.storage"
"""Brings files from S3 whose sha256 is checked: a change in it cannot change a stage's result."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("slimline", "tasks", cache_dir=None)


def declared(project: Path, stage: str) -> list[str]:
    entry = yaml.safe_load((project / "dvc.yaml").read_text())["stages"][stage]
    return entry.get("do", entry)["deps"]


def file_of(project: Path, module: str) -> str:
    path = Path(*module.split("."))
    return f"{path}/__init__.py" if (project / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_hold_the_import_closure(project: Path, graph: grimp.ImportGraph, stage: str) -> None:
    deps = declared(project, stage)
    reached = graph.find_upstream_modules(f"tasks.{stage}") | {f"tasks.{stage}"}
    files = {file_of(project, module) for module in reached - INERT - {"tasks"} if not module.startswith(CHECKED_BYTES)}
    missing = sorted(file for file in files if not any(file == dep or file.startswith(f"{dep}/") for dep in deps))
    assert not missing, f"dvc.yaml: {stage}.deps lacks {missing}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_dep_in_git_exists(project: Path, stage: str) -> None:
    own = [dep for dep in declared(project, stage) if not dep.startswith(("data/", "reports/metrics", "${"))]
    assert own
    assert [dep for dep in own if not (project / dep).exists()] == []


def test_stage_module_and_params_section_have_one_name(project: Path) -> None:
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    assert tuple(stages) == STAGES
    for name, entry in stages.items():
        assert entry.get("do", entry)["cmd"].startswith(f"python -m tasks.{name}")


def test_inert_packages_are_inert(project: Path) -> None:
    for package in INERT:
        text = (project / Path(*package.split(".")) / "__init__.py").read_text()
        code = [line for line in text.split('"""', 2)[2].splitlines() if line.strip()]
        assert code in ([], ['__version__ = "0.1.0"']), package
