"""`slimline init` on a net of the user's own, in a clone."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimline.params import Params
from tests.pipeline.small_run import clone, environment, sh

pytestmark = pytest.mark.slow

FLAT = """from torch import nn


def build(*, preprocessing, outputs, config):
    pixels = preprocessing.height * preprocessing.width * len(preprocessing.mode)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, outputs))
"""


def test_init_takes_out_what_a_net_of_ones_own_cannot_become(snapshot: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "home")
    (tmp_path / "own").mkdir()
    folder = clone(snapshot, tmp_path / "own", env)
    (folder / "flat.py").write_text(FLAT)
    for label, shade in (("dark", 0), ("light", 128)):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(number + shade).integers(shade, shade + 127, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    told = sh(folder, "slimline", "init", "photos", "--model", "flat.py:build", "--force", "--json", env=env)
    found = json.loads(told[told.index("{") : told.rindex("}") + 1])
    assert found["left_out"].keys() == {"channels50", "channels50-int8"}
    assert found["left_out"]["channels50-int8"] == "it starts from channels50"
    assert f"  # channels50 is left out: {found['left_out']['channels50']}" in (folder / "params.yaml").read_text()
    params = Params.load(folder / "params.yaml")
    assert (set(params.variants), params.deploy.variants) == ({"int8"}, ("teacher", "int8"))
