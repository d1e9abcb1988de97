"""A net of one's own for a folder of pictures or a table: built from what its author names, whatever its forward calls the input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slimline.data.preprocessing import Category, Columns, Number, Pictures, Preprocessing
from slimline.data.table import Table, write_table
from slimline.errors import WorkloadError
from slimline.params import ModelParams
from slimline.workloads.facts import Facts
from slimline.workloads.guarded import Guarded, guarded
from slimline.workloads.opened import Opened
from slimline.workloads.trial import trial_problems

PICTURES = Pictures(column="image", height=8, width=8, mode="L", mean=(0.5,), scale=(0.5,))
NUMBERS = (Number(name="size", fill=0, mean=0, scale=1),)
KINDS = (Category(name="kind", levels=("a", "b")),)
NET = """from torch import nn

class Net(nn.Module):
    def __init__(self, {init}):
        super().__init__()
        self.head = nn.Linear({features}, {out})

    def forward(self, {forward}):
        return self.head({read})
"""
FLAT = "x.flatten(1)"


def workload(folder: Path, code: str, preprocessing: Preprocessing = PICTURES, **config: Any) -> Guarded:
    (folder / "net.py").write_text(code)
    facts = Facts(preprocessing=preprocessing, objective={"name": "classification", "labels": ["x", "y"]}, outputs=2, found={})
    model = ModelParams(architecture="net.py:Net", path="net.py", config=config)
    return guarded("images", Opened("images", facts, model, folder))


def pictures(folder: Path) -> Table:
    path, rows = folder / "one.png", []
    for number in range(4):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
        rows.append({"image": {"bytes": path.read_bytes(), "path": None}, "label": number % 2})
    write_table(folder / "a.arrow", rows)
    return Table(folder / "a.arrow")


@pytest.mark.parametrize("init", ["outputs", "preprocessing, outputs, config", "outputs=2, depth=3", "**settings", "*, outputs, config"])
@pytest.mark.parametrize("forward", ["x", "pixels", "x, scale=1.0", "*parts"])
def test_a_net_takes_what_it_names(tmp_path: Path, init: str, forward: str) -> None:
    read = "parts[0].flatten(1)" if forward == "*parts" else f"{forward.partition(',')[0]}.flatten(1)"
    out = "settings['outputs']" if "settings" in init else "outputs"
    found = workload(tmp_path, NET.format(init=init, features=64, out=out, forward=forward, read=read))
    assert trial_problems(found, pictures(tmp_path)) == ()
    batch = found.inputs(pictures(tmp_path).rows(slice(0, 4)))
    assert list(batch) == ["pixels"]
    net = found.build_teacher().eval()
    with torch.no_grad():
        torch.testing.assert_close(net(**batch), net.get_submodule("head")(batch["pixels"].flatten(1)))


def test_a_sequential_and_a_function_that_asks_for_nothing(tmp_path: Path) -> None:
    found = workload(tmp_path, "from torch import nn\n\ndef Net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))\n")
    assert trial_problems(found, pictures(tmp_path)) == ()


def test_inputs_of_a_table_are_taken_by_their_names(tmp_path: Path) -> None:
    both = Columns(numbers=NUMBERS, categories=KINDS)
    write_table(tmp_path / "a.arrow", [{"size": float(n), "kind": "ab"[n % 2], "label": n % 2} for n in range(4)])
    table, code = Table(tmp_path / "a.arrow"), NET.format(init="outputs", features=1, out="outputs", forward="{forward}", read="numbers")
    named = workload(tmp_path, code.format(forward="numbers, categories"), both)
    assert trial_problems(named, table) == ()
    (problem,) = trial_problems(workload(tmp_path, code.format(forward="numbers, kinds"), both), table)
    assert problem == (
        "workload 'images': the net of build_teacher() takes numbers, kinds, and the data give numbers, categories: "
        "name a parameter of forward categories"
    )
    alone = Columns(numbers=NUMBERS, categories=())
    assert trial_problems(workload(tmp_path, code.format(forward="x").replace("head(numbers)", "head(x)"), alone), table) == ()


def test_what_nobody_knows_is_asked_for_with_a_default(tmp_path: Path) -> None:
    code = NET.format(init="outputs, depth", features=64, out="outputs", forward="x", read=FLAT)
    with pytest.raises(WorkloadError, match=r"net\.py:Net needs depth; a builder is given what it names of preprocessing, outputs,"):
        workload(tmp_path, code).build_teacher()


def test_a_config_that_is_not_taken_is_said(tmp_path: Path) -> None:
    code = NET.format(init="outputs", features=64, out="outputs", forward="x", read=FLAT)
    with pytest.raises(WorkloadError, match="takes no `config`, and is given widths; add the parameter"):
        workload(tmp_path, code, widths=[3]).build_teacher()


def test_what_somebodys_class_calls_preprocessing_is_their_own() -> None:
    from slimline.workloads.digits import Digits

    class Own(Digits):
        preprocessing = staticmethod(lambda pixels: pixels / 16)

    assert guarded("own", Own()).preprocessing is None
    assert guarded("own", Own()).first_input == guarded("digits", Digits()).first_input
