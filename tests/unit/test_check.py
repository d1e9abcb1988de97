"""`slimline check`: what goes beyond the text of params.yaml."""

import sys
from pathlib import Path

import pytest

from slimline.commands.check import checked_params
from slimline.errors import ParamsError


def test_a_target_whose_packages_are_missing_is_named_with_its_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "openvino" in checked_params(project).deploy.targets
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ParamsError, match=r"deploy\.targets: 'openvino' needs nncf; pip install 'slimline\[openvino\]'"):
        checked_params(project)
