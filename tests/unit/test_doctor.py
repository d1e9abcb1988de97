"""`slimline doctor`: what a target needs and this machine lacks."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from slimline.commands.check import EXTRAS, PROGRAMS, lacking
from slimline.commands.doctor import Examined, _gpu, examine
from slimline.params import TARGETS
from slimline.training.device import why_no_gpu

PYPROJECT = "pyproject.toml"


def targets_line(folder: Path) -> Examined:
    """What the doctor says of the targets; it looks at them second, so nothing slower is run."""
    return next(one for one in examine(folder) if one.name == "targets")


@pytest.fixture
def deploying(project: Path, in_folder: Path) -> Path:
    """A project folder that deploys on inductor, openvino and onnxruntime."""
    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["deploy"] = {"variants": ["teacher"], "targets": ["onnxruntime", "openvino", "inductor"]}
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    return in_folder


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make packages and programs look missing."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None if name in names else which(name, *rest))
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_what_deployed_targets_lack_is_named_with_its_remedy(deploying: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "nncf", "g++", "jax")
    found = targets_line(deploying)
    assert not found.ok
    assert "openvino lacks nncf" in found.seen
    assert "inductor lacks g++" in found.seen
    assert "xla would need jax" in found.seen
    assert "pip install 'slimline[openvino]'" in found.advice
    assert "apt-get install g++" in found.advice
    assert "jax" not in found.advice


def test_targets_that_nobody_deploys_on_are_not_off(deploying: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = yaml.safe_load((deploying / "params.yaml").read_text())
    raw["deploy"]["targets"] = ["onnxruntime"]
    (deploying / "params.yaml").write_text(yaml.safe_dump(raw))
    hide(monkeypatch, "nncf", "openvino", "executorch")
    found = targets_line(deploying)
    assert found.ok
    assert found.seen.startswith("onnxruntime; ")
    assert "openvino would need openvino and nncf" in found.seen


def test_a_wrong_params_file_leaves_the_targets_unread(deploying: Path) -> None:
    (deploying / "params.yaml").write_text("deploy: 3")
    assert targets_line(deploying).seen.startswith("none readable")


def test_every_extra_and_program_belongs_to_a_target(project: Path) -> None:
    assert set(EXTRAS) | set(PROGRAMS) <= set(TARGETS)
    text = (project / PYPROJECT).read_text()
    assert all(f"\n{target} = [" in text for target in EXTRAS)
    assert lacking("eager") == {}


def test_the_device_is_told_and_none_is_no_fault(deploying: Path) -> None:
    found = _gpu(deploying)
    assert found.ok
    assert found.seen.endswith("device: auto is the CPU" if why_no_gpu() else "device: auto trains there")
