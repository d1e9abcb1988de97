"""Nets with the traits of public bug reports, as workloads of contract 2: each goes through the line, or is refused in one line at once."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from slimline.artifact.compiled import read_compiled
from slimline.artifact.json_file import read_json
from slimline.stage import stage_main

HEAD = '''
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from slimline.objectives.classification import classification
from slimline.workloads.cut import cut_table


class Ids(nn.Module):
    """Token ids as int64, padded with 0: embedded, averaged where the mask says so."""

    def __init__(self):
        super().__init__()
        self.embed, self.first, self.head = nn.Embedding(40, 16, padding_idx=0), nn.Linear(16, 32), nn.Linear(32, 2)

    def forward(self, input_ids, mask):
        found = self.embed(input_ids) * mask.unsqueeze(-1)
        return self.head(torch.relu(self.first(found.sum(1) / mask.sum(1, keepdim=True))))


class Mixed(nn.Module):
    """Two categorical columns through embeddings beside three numbers."""

    def __init__(self):
        super().__init__()
        self.city, self.job, self.norm = nn.Embedding(4, 8), nn.Embedding(7, 8), nn.BatchNorm1d(3)
        self.first, self.second, self.head = nn.Linear(19, 64), nn.Linear(64, 64), nn.Linear(64, 2)

    def forward(self, numbers, categories):
        x = torch.cat([self.city(categories[:, 0]), self.job(categories[:, 1]), self.norm(numbers)], 1)
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


class Dense(nn.Module):
    def __init__(self, outputs=2):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(12, 48), nn.BatchNorm1d(48), nn.Linear(48, outputs)

    def logits(self, x):
        return self.head(torch.relu(self.norm(self.first(x))))

    def forward(self, x):
        return self.logits(x)


class InDict(Dense):
    def forward(self, x):
        return {"features": x, "logits": self.logits(x)}


class OneLogit(Dense):
    def __init__(self):
        super().__init__(1)

    def forward(self, x):
        return self.logits(x).squeeze(1)


class Series(nn.Module):
    """A sensor's series of any length through a GRU."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(3, 24, batch_first=True), nn.Linear(24, 2)

    def forward(self, series):
        return self.head(self.gru(series)[0].mean(1))


class Whole(Dense):
    """Its answer to a sample depends on the batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(48, track_running_stats=False)


class NotFinite(Dense):
    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.head.bias[0] = float("nan")


class Case:
    objective = classification(("no", "yes"))
    name, net = "case", Dense

    def splits(self, options, seed):
        draw, rows = np.random.default_rng(seed), 600
        label = np.arange(rows) % 2
        x = draw.normal(size=(rows, 12)) + 1.5 * label[:, None]
        ids = [draw.integers(1 + 18 * one, 21 + 18 * one, 3 + row % 6) for row, one in enumerate(label)]
        city, job = (draw.integers(0, 4, rows) + label) % 4, draw.integers(0, 7, rows)
        series = [(draw.normal(size=(5 + row % 4, 3)) + one).astype("float32") for row, one in enumerate(label)]
        frame = pd.DataFrame({"x": list(x.astype("float32")), "ids": ids, "city": city, "job": job, "series": series, "label": label})
        return cut_table(frame, options, seed)

    def build_teacher(self):
        return self.net()

    def inputs(self, rows):
        return torch.from_numpy(rows["x"])


def padded(parts):
    longest = max(map(len, parts))
    return torch.stack([F.pad(torch.as_tensor(np.asarray(one)), (0, 0) * (np.ndim(one) - 1) + (0, longest - len(one))) for one in parts])


class IdsCase(Case):
    net = Ids

    def inputs(self, rows):
        ids = padded(list(rows["ids"]))
        return {"input_ids": ids, "mask": (ids > 0).float()}


class MixedCase(Case):
    net = Mixed

    def inputs(self, rows):
        categories = torch.from_numpy(np.stack([rows["city"], rows["job"]], 1))
        return {"numbers": torch.from_numpy(rows["x"][:, :3]), "categories": categories}


class SeriesCase(Case):
    net = Series

    def inputs(self, rows):
        return {"series": padded(list(rows["series"]))}


class FilledCase(SeriesCase):
    def inputs(self, rows):
        return {"series": F.pad(padded(list(rows["series"])), (0, 0, 0, 8))[:, :8]}


class InDictCase(Case):
    net = InDict


class OneLogitCase(Case):
    net = OneLogit


class WholeCase(Case):
    net = Whole


class NotFiniteCase(Case):
    net = NotFinite
'''
PARAMS = {
    "data": {"test_fraction": 0.2, "validation_fraction": 0.2, "calibration_samples": 60},
    "teacher": {"source": "train", "epochs": 6, "batch_size": 32, "learning_rate": 0.01},
    "calibrate": {"samples": 60, "batch_size": 20},
    "prune": {"narrow": {"source": "teacher", "method": "channels", "ratio": 0.5, "round_to": 4, "recover": {"epochs": 2}}},
    "quantize": {"int8": {"source": "teacher", "method": "static"}, "bytes8": {"source": "teacher", "method": "weight_only", "bits": 8}},
    "factorize": {"thin": {"source": "teacher", "method": "svd", "rank": 4}},
    "deploy": {"variants": ["teacher", "int8"], "targets": ["onnxruntime", "openvino"]},
    "evaluate": {"batch_size": 8, "pairs": 10, "resamples": 200},
}


def run(stage: str, *arguments: str, per: str = "stage") -> None:
    stage_main(stage, import_module(f"tasks.{stage}").main, None, list(arguments), per=per)


def begin() -> None:
    """The stages before anything is compressed."""
    run("data")
    run("look")


@pytest.fixture
def line(in_folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    (in_folder / "case.py").write_text(HEAD)
    (in_folder / "params.yaml").write_text(yaml.safe_dump({"workload": f"case.py:{request.param}", **PARAMS}))
    (in_folder / "reports").mkdir()
    (in_folder / "reports/templates").symlink_to(project / "reports/templates")
    monkeypatch.setenv("PYTHONPATH", str(project))
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield in_folder
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "inputs"),
    [
        ("IdsCase", ["int64 [N, 2..8]", "float32 [N, 2..8]"]),
        ("MixedCase", ["float32 [N, 3]", "int64 [N, 2]"]),
        ("FilledCase", ["float32 [N, 8, 3]"]),
        ("InDictCase", ["float32 [N, 12]"]),
        ("OneLogitCase", ["float32 [N, 12]"]),
    ],
    indirect=["line"],
)
def test_it_goes_through_the_line(line: Path, inputs: list[str]) -> None:
    for stage in ("data", "teacher", "calibrate"):
        run(stage)
    made = (
        {"quantize": ("int8", "bytes8")}
        if "Filled" in (line / "params.yaml").read_text()
        else {"prune": ("narrow",), "quantize": ("int8", "bytes8"), "factorize": ("thin",)}
    )
    for stage, variants in made.items():
        for variant in variants:
            run(stage, "--variant", variant, per="variant")
    on_both = "IdsCase" in (line / "params.yaml").read_text()
    for variant, target in (("teacher", "onnxruntime"), ("int8", "onnxruntime"), *([("int8", "openvino")] if on_both else [])):
        run("compile", "--variant", variant, "--target", target, per="pair")
        run("evaluate", "--variant", variant, "--target", target, per="pair")
        assert [one.text for one in read_compiled(Path(f"data/compiled/{variant}-{target}")).signature.inputs] == inputs
        facts = read_json(Path(f"reports/metrics/evaluate/{variant}-{target}.json"))
        assert facts["quality"]["accuracy"]["value"] > 0.8
        assert facts["drop"]["ci"][1] < 0.1
    if "prune" in made:
        narrow = read_json(Path("reports/metrics/prune/narrow.json"))
        assert narrow["parameters"] < narrow["baseline"]["parameters"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SeriesCase", "layer 'gru' is recurrent, which torch.export takes for one length alone"),
        ("WholeCase", "batch norm 'norm' keeps no running statistics"),
        ("NotFiniteCase", "gives outputs that are no finite numbers"),
    ],
    indirect=["line"],
)
def test_it_is_refused_in_one_line_before_training(line: Path, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        begin()
    assert caught.value.code == 2
    (told,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("error:")]
    assert said in told
    assert not (line / "data/models/teacher").exists()
