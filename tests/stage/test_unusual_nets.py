"""The line from teacher to compile on nets that hooks had not followed, and the refusal, before any training, of those that none can."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.artifact.variant import load_variant
from slimline.stage import stage_main
from slimline.workloads import get_workload
from tasks import calibrate, compile, look, quantize, teacher
from tests.prepared_project import prepare_project
from tests.shared_export import shared_exports

WORKLOAD = '''
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from slimline.objectives.classification import Classification
from slimline.workloads.cut import cut_table
from tests.unusual_nets import ByFunction


class Mixed(ByFunction):
    """Weights by function, a head for training alone, parametrizations, one backbone on two halves."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv1d(4, 16, 3, padding=1), nn.BatchNorm1d(16)
        self.wide = parametrizations.weight_norm(nn.Linear(16 * 6, 48))
        self.enter = parametrizations.spectral_norm(self.enter)

    def forward(self, x):
        halves = [torch.relu(self.norm(self.stem(half.transpose(1, 2)))).flatten(1) for half in x.split(4, dim=2)]
        joined = torch.relu(self.wide(input=halves[0] - halves[1])).reshape(len(x), 6, 8)
        return super().forward(x + joined)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        lengths = torch.full((len(x),), 4)
        _, (last, _) = self.rnn(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))
        return self.head(last[-1])


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.norm(x).mean(dim=1))


class Judged(Classification):
    """Classes; in training the auxiliary head is judged too."""

    def loss(self, outputs, targets):
        if isinstance(outputs, dict):
            return sum(functional.cross_entropy(one, targets) for one in outputs.values())
        return super().loss(outputs, targets)


class Case:
    name, net, objective = "unusual", Mixed, Judged(("a", "b", "c"))

    def splits(self, options, seed):
        r = np.random.default_rng(seed)
        label = np.arange(360) % 3
        x = r.normal(size=(360, 48)).clip(-3, 3) + np.eye(48)[label] * 6
        return cut_table(pd.DataFrame({"x": list(x.astype("float32")), "label": label.astype("int64")}), options, seed)

    def build_teacher(self):
        return self.net()

    def build_student(self, config):
        return self.net()

    def inputs(self, rows):
        return torch.from_numpy(rows["x"]).view(-1, 6, 8)

    def outputs(self, result):
        return dict(zip(("main", "auxiliary"), result, strict=True)) if isinstance(result, tuple) else result


class PackedCase(Case):
    net = Packed


class WholeCase(Case):
    net = Whole
'''
PARAMS: dict[str, Any] = {
    "teacher": {"source": "train", "epochs": 6, "batch_size": 32, "learning_rate": 0.01},
    "calibrate": {"samples": 60, "batch_size": 20},
    "quantize": {
        "int8": {"source": "teacher", "method": "static"},
        "dynamic": {"source": "teacher", "method": "dynamic"},
        "int4": {"source": "teacher", "method": "weight_only", "bits": 4},
        "trained": {"source": "teacher", "method": "qat", "epochs": 1, "batch_size": 32},
    },
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime", "openvino"]},
}
LEFT = ("head", "sliced", "standard", "auxiliary")


@pytest.fixture(scope="module", autouse=True)
def _exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@pytest.fixture(autouse=True)
def _deterministic_as_before() -> Iterator[None]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)


def prepared(folder: Path, project: Path, name: str) -> None:
    (folder / "unusual.py").write_text(WORKLOAD)
    params = {"workload": f"unusual.py:{name}", **PARAMS}
    prepare_project(folder, project, params, get_workload(f"unusual.py:{name}"))


def read(stage: str, label: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"reports/metrics/{stage}/{label}.json").read_text())
    return found


@pytest.mark.slow
def test_every_stage_follows_a_net_of_many_traits(in_folder: Path, project: Path) -> None:
    prepared(in_folder, project, "Case")
    stage_main("teacher", teacher.main, None, [])
    page = Path("reports/stages/teacher/teacher.md").read_text()
    assert "WeightNorm of wide.weight" in page
    assert "SpectralNorm of enter.weight" in page
    assert read("teacher", "teacher")["validation"]["accuracy"] > 0.8
    loaded = load_variant(Path("data/models/teacher"), get_workload("unusual.py:Case"))
    assert type(loaded.model.get_submodule("wide")) is torch.nn.Linear
    stage_main("calibrate", calibrate.main, None, [])
    assert {"stem", "wide", "enter", "twice"} <= set(json.loads(Path("data/calibration/statistics.json").read_text())["order"])
    for variant in PARAMS["quantize"]:
        stage_main("quantize", quantize.main, None, ["--variant", variant], per="variant")
        layers = read("quantize", variant)["plan"]["layers"]
        assert {name for name, entry in layers.items() if entry["precision"] == "float32"} == set(LEFT)
        assert "bytes stay in float" in Path(f"reports/stages/quantize/{variant}.md").read_text()
        for target in PARAMS["deploy"]["targets"]:
            stage_main("compile", compile.main, None, ["--variant", variant, "--target", target], per="pair")
            compiled = read("compile", f"{variant}-{target}")
            assert compiled["weight_bytes"] == pytest.approx(read("quantize", variant)["size_bytes"], rel=0.06)
            assert set(compiled["layers"]) == layers.keys() - set(LEFT)

    draws = read("quantize", "int8")["draws"]
    assert len(draws["figures"]) == len(set(draws["moves"])) == 5
    assert draws["figures"][0] == pytest.approx(read("quantize", "int8")["validation"]["accuracy"])
    page = Path("reports/stages/quantize/int8.md").read_text()
    assert "Over 5 draws of the calibration sample validation accuracy is" in page
    assert page.count("from train and calibration |") == 4
    assert "draws" not in read("quantize", "dynamic")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PackedCase", "layer 'rnn', LSTM, is called with a PackedSequence"),
        ("WholeCase", "its answer to a sample depends on the other samples of the batch: batch norm 'norm' keeps no running statistics"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_training(
    name: str, words: str, in_folder: Path, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared(in_folder, project, name)
    with pytest.raises(SystemExit) as refused:
        stage_main("look", look.main, None, [])
    assert refused.value.code == 2
    assert [record.message for record in caplog.records if "epoch" in record.message] == []
    (line,) = [record.message for record in caplog.records if "error:" in record.message]
    assert words in line
    assert not Path("data/models").exists()
