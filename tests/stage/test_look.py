"""The look before training: what no net built like this one can be made to do is told at once, each with its place and its way out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slimline.params import Params
from slimline.stage import stage_main
from slimline.workloads import get_workload
from tasks import look
from tasks.exports import affordable, deployed_plans
from tests.prepared_project import prepare_project

WORKLOAD = '''
import numpy as np
import pandas as pd
import torch
from torch import nn
from slimline.objectives.classification import classification
from slimline.workloads.cut import cut_table


class Net(nn.Module):
    """[N, 18] -> [N, 2]: three Linear layers, no norm, no convolution, nothing residual."""

    def __init__(self, width=30):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(18, width), nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


class Wide(nn.Module):
    """Takes another input, and more of it."""

    def __init__(self):
        super().__init__()
        self.only = nn.Linear(20, 2)

    def forward(self, x):
        return self.only(x)


class Three(Net):
    def __init__(self):
        super().__init__(8)
        self.head = nn.Linear(8, 3)


class Floored(Net):
    """What ONNX has no operation for."""

    def forward(self, x):
        return self.head(torch.special.bessel_j0(torch.relu(self.second(torch.relu(self.first(x))))))


class Case:
    name, net, objective = "case", Net, classification(("no", "yes"))

    def splits(self, options, seed):
        draw = np.random.default_rng(seed)
        label = np.arange(300) % 2
        x = draw.normal(size=(300, 18)) + label[:, None]
        return cut_table(pd.DataFrame({"x": list(x.astype("float32")), "label": label}), options, seed)

    def build_teacher(self):
        return self.net()

    def build_student(self, config):
        return {"wide": Wide, "three": Three}.get(config.get("kind"), lambda: Net(8))()

    def inputs(self, rows):
        return torch.from_numpy(rows["x"])


class FlooredCase(Case):
    net = Floored
'''
GOOD: dict[str, Any] = {
    "prune": {
        "fewer": {"source": "teacher", "method": "magnitude", "fraction": 0.5},
        "all": {"source": "teacher", "method": "magnitude", "threshold": 1e3},
        "lasso": {"source": "teacher", "method": "group_lasso", "training": {"epochs": 40}},
        "ticket": {"source": "teacher", "method": "lottery_ticket", "rounds": 12, "training": {"epochs": 9}},
    },
    "quantize": {
        "int8": {"source": "teacher", "method": "static"},
        "four": {"source": "thin", "method": "weight_only", "bits": 4},
        "trained": {"source": "small", "method": "qat", "epochs": 9},
    },
    "factorize": {
        "thin": {"source": "teacher", "method": "svd", "rank": 4},
        "noise": {"source": "teacher", "method": "svd", "vbmf": True},
    },
    "distill": {"small": {"source": "teacher", "method": "soft_targets", "epochs": 9}},
    "deploy": {"variants": ["teacher", "int8", "four"], "targets": ["onnxruntime"]},
}
BAD: dict[str, Any] = {
    "prune": {
        "no-heads": {"source": "teacher", "method": "heads", "fraction": 0.5},
        "no-blocks": {"source": "teacher", "method": "depth", "blocks": 1},
        "no-norm": {"source": "teacher", "method": "network_slimming"},
        "no-eights": {"source": "teacher", "method": "semi_structured", "n": 4, "m": 8},
        "no-layer": {"source": "teacher", "method": "channels", "ratio": 0.5, "keep": ["third"]},
        "too-small": {"source": "teacher", "method": "channels", "parameters": 0.01},
    },
    "quantize": {"nothing": {"source": "teacher", "method": "dynamic", "keep_float": ["*"]}},
    "factorize": {
        "no-kernels": {"source": "teacher", "method": "spatial_svd", "rank": 4},
        "narrow": {"source": "teacher", "method": "tucker", "rank": 4, "include_linear": True, "min_channels": 64},
    },
    "distill": {
        "other-inputs": {"source": "teacher", "method": "soft_targets", "student": {"kind": "wide"}},
        "other-outputs": {"source": "teacher", "method": "soft_targets", "student": {"kind": "three"}},
    },
    "deploy": {"variants": ["teacher"], "targets": ["eager"]},
}
SAID = {
    "prune.no-heads": "heads found no attention in this model",
    "prune.no-blocks": "the model has no residual block (x + f(x)) that could go; use channels",
    "prune.no-norm": "network_slimming needs batch norms behind the layers; use group_lasso",
    "prune.no-eights": "none of 3 layers has inputs in multiples of m = 8; lower m",
    "prune.no-layer": "keep: 'third' matches no layer; there are: first, second, head",
    "prune.too-small": "channels can leave no less than",
    "quantize.nothing": "no layer would be quantized (kept in float by keep_float); change",
    "factorize.no-kernels": "the model has no layer for spatial_svd; use svd",
    "factorize.narrow": "fewer than 64 channels",
    "distill.other-inputs": "it does not run on what its source takes (x)",
    "distill.other-outputs": "it gives outputs of shape [2, 3], its source [2, 2]",
}


@pytest.fixture
def folder(in_folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch):
    (in_folder / "case.py").write_text(WORKLOAD)
    monkeypatch.setenv("PYTHONPATH", str(project))
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield in_folder
    torch.use_deterministic_algorithms(deterministic)


def begin(folder: Path, project: Path, name: str, params: dict[str, Any]) -> None:
    whole = {"workload": f"case.py:{name}", "evaluate": {"batch_size": 8}, **params}
    prepare_project(folder, project, whole, get_workload(f"case.py:{name}"))
    stage_main("look", look.main, None, [])


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("error:")]


@pytest.mark.slow
def test_what_can_work_passes_and_leaves_the_same_mark(folder: Path, project: Path) -> None:
    begin(folder, project, "Case", GOOD)
    assert json.loads((folder / "data/look.json").read_text()) == {"schema": 1}
    page = (folder / "reports/stages/look/look.md").read_text()
    outcomes = {row.split(" | ")[0].strip("| "): row.split(" | ")[1] for row in page.splitlines() if row.startswith("| ")}
    later = {name for name, outcome in outcomes.items() if outcome == "only training will tell"}
    assert later == {"prune.all", "factorize.noise"}
    assert {name for name, outcome in outcomes.items() if outcome == "works"} >= {
        *("prune.lasso", "prune.ticket", "quantize.int8", "quantize.four", "quantize.trained", "distill.small"),
        *("deploy.targets.onnxruntime (teacher)", "deploy.targets.onnxruntime (int8)", "deploy.targets.onnxruntime (four)"),
    }


def test_all_that_cannot_work_is_told_at_once(folder: Path, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        begin(folder, project, "Case", BAD)
    assert caught.value.code == 2
    told = errors(caplog)
    assert len(told) == len(SAID), told
    for place, words in SAID.items():
        (line,) = [line for line in told if line.startswith(f"error: params.yaml: {place}: ")]
        assert words in line
        assert ";" in line, line
    assert not (folder / "data/look.json").exists()


@pytest.mark.slow
def test_a_target_that_cannot_take_the_net_is_told(folder: Path, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    deploy = {"variants": ["teacher"], "targets": ["onnxruntime"]}
    with pytest.raises(SystemExit) as caught:
        begin(folder, project, "FlooredCase", {"deploy": deploy})
    assert caught.value.code == 2
    (line,) = errors(caplog)
    assert line.startswith("error: params.yaml: deploy.targets: 'onnxruntime' cannot take the net of build_teacher(): ")
    assert line.endswith("take 'onnxruntime' out of deploy.targets, or change the net")


def test_a_trial_that_does_not_end_is_ended(in_folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project))
    monkeypatch.setattr(look, "TRIAL_S", 0.05)
    (trial,) = look.exported("onnxruntime")
    assert (trial.what, trial.outcome) == ("deploy.targets.onnxruntime", look.LATER)
    assert trial.said == "a trial took more than 0.05 s and was ended; its stage will tell"


def test_of_a_large_net_few_plans_are_compiled_whatever_the_clock_says() -> None:
    nets = [nn.Linear(width, width, bias=False, device="meta") for width in (1_000, 5_000, 20_000)]
    assert [affordable(net) for net in nets] == [100, 4, 0]


def test_plans_are_tried_one_of_each_method_first() -> None:
    quantize = {
        "a": {"source": "teacher", "method": "static"},
        "b": {"source": "teacher", "method": "static"},
        "c": {"source": "teacher", "method": "dynamic"},
        "d": {"source": "teacher", "method": "half"},
    }
    deploy = {"variants": ["b", "a", "c", "d", "teacher"], "targets": ["onnxruntime", "eager"]}
    params = Params.model_validate({"workload": "digits", "quantize": quantize, "deploy": deploy})
    assert deployed_plans(params, "onnxruntime") == ["b", "c", "d", "a"]
    assert deployed_plans(params, "eager") == ["d"]
