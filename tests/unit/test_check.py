"""`slimline check`: what goes beyond the text of params.yaml."""

import sys
from pathlib import Path

import pytest
import yaml

from slimline.commands.check import checked_params
from slimline.errors import ParamsError


def test_a_target_whose_packages_are_missing_is_named_with_its_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "openvino" in checked_params(project).deploy.targets
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ParamsError, match=r"deploy\.targets: 'openvino' needs nncf; pip install 'slimline\[openvino\]'"):
        checked_params(project)


def test_a_section_that_dvc_reads_and_params_lack_is_named(project: Path, in_folder: Path) -> None:
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    raw = yaml.safe_load((project / "params.yaml").read_text()) | {"factorize": {}, "gate": {"metric": "accuracy"}}
    raw["deploy"]["variants"] = ["teacher", "int8"]
    del raw["prune"], raw["seed"], raw["quantize"]["small-int8"]
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError) as caught:
        checked_params(in_folder)
    assert [problem.split(":")[1].strip() for problem in caught.value.problems] == ["gate.confidence", "prune", "seed"]
    assert "add `prune: {}`" in caught.value.problems[1]
