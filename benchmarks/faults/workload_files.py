"""Hostile workload files: whatever a member or a net raises, and members that give something else, told as the workload's in lines.

Each try runs the stages `data` and `teacher` on the digits with one thing wrong.

    python benchmarks/faults/workload_files.py --seed 0 --tries 120
"""

import argparse
import os
import random
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml
from tries import Try, all_tried

PROJECT = Path(__file__).parents[2]
MEMBERS = ("__init__", "splits", "build_teacher", "inputs", "targets", "augment", "outputs", "show")
OF_OBJECTIVE = ("loss", "scores")
"""What the stages ask of an objective while a teacher is trained."""
RAISED = {
    "own class": "class Own(Exception): pass\nraise Own('lost')",
    "own class below everything": "class Own(BaseException): pass\nraise Own('lost')",
    "system exit": "raise SystemExit(0)",
    "memory": "raise MemoryError",
    "stop": "raise StopIteration('lost')",
    "generator exit": "raise GeneratorExit",
    "recursion": "def again(): again()\nagain()",
    "many lines": "raise ValueError('a\\nb\\n' * 5000)",
    "text that raises": "class Own(Exception):\n    def __str__(self): raise RuntimeError\nraise Own",
    "warning": "raise UserWarning('lost')",
    "unicode": "b'\\xff'.decode()",
    "key": "{}['lost']",
}
GIVEN = (
    *("None", "3", "'<b>text'", "[]", "{}", "float('nan')", "object", "lambda: 1"),
    *("np.ones(3)", "torch.ones(3)", "torch.ones(2, 1, 8, 8) * 1j"),
)
ATTRIBUTES = {
    "name": ("''", "'../x'", "None", "3", "'a' * 500"),
    "objective": (
        "None",
        "3",
        "'classification'",
        "classification",
        "Objective()",
        "Objective",
        "classification(('a', 'b'))",
        "regression()",
    ),
    "splits": ("None", "3", "{}"),
    "augment": ("3", "'none'"),
    "outputs": ("3", "{}"),
}
OBJECTIVES = {
    "metrics": ("None", "{}", "{'accuracy': 3}", "[]", "{'other': Digits.objective.metrics['accuracy']}"),
    "labels": ("()", "'ab'", "(1, 2)", "('a', 'a')", "np.arange(3)", "None"),
}
HEAD = """import numpy as np
import torch
from torch import nn
from slimline.objectives import Objective
from slimline.objectives.classification import classification
from slimline.objectives.regression import regression
from slimline.workloads.digits import Digits

"""
FORWARDS = (
    *("return None", "return x", "return {'logits': x}", "return (x, x)"),
    *("return x.flatten(1)[:, :10].double()", "return self.layer(x.flatten(1)) / 0"),
)
PARAMS = {
    "workload": "own.py:Own",
    "teacher": {"source": "train", "epochs": 2, "threads": 1},
    "deploy": {"variants": ["teacher"], "targets": ["eager"]},
}


def main() -> int:
    """Make the tries and run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=120, help="how many are tried, drawn by the seed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimline-faults-") as folder:
        every = list(_files())
        drawn = random.Random(arguments.seed).sample(every, min(arguments.tries, len(every)))
        attempts = [_attempt(Path(folder) / str(number), *file) for number, file in enumerate(drawn)]
        return all_tried(attempts, heading="workload files")


def _files() -> Iterator[tuple[str, str, str]]:
    """(family, name, text of the file)."""
    for how, code in RAISED.items():
        yield "raised on import", how, code
        for member in MEMBERS:
            yield "raised by a member", f"{member}: {how}", workload(f"def {member}(self, *arguments):\n{textwrap.indent(code, '    ')}")
        yield "raised by forward", how, with_net(code)
    for member in MEMBERS[1:]:
        for value in GIVEN:
            yield "another value", f"{member}: {value}", workload(f"def {member}(self, *arguments): return {value}")
    for attribute, values in ATTRIBUTES.items():
        for value in values:
            yield "another attribute", f"{attribute} = {value}", workload(f"{attribute} = {value}")
        for member in OF_OBJECTIVE:
            yield (
                "raised by an objective",
                f"{member}: {how}",
                of_objective(f"def {member}(self, *arguments):\n{textwrap.indent(code, '    ')}"),
            )
    for member in OF_OBJECTIVE:
        for value in GIVEN:
            yield "an objective's other value", f"{member}: {value}", of_objective(f"def {member}(self, *arguments): return {value}")
    for attribute, values in OBJECTIVES.items():
        for value in values:
            yield "an objective's other attribute", f"{attribute} = {value}", of_objective(f"{attribute} = {value}")
    for code in FORWARDS:
        yield "another output", code, with_net(code)
    yield "syntax", "a colon too few", "class Own\n    pass\n"
    yield "syntax", "no such class", "x = 1\n"


def workload(member: str) -> str:
    """The digits, one member replaced."""
    return f"{HEAD}class Own(Digits):\n{textwrap.indent(member, '    ')}\n"


def of_objective(member: str) -> str:
    """The digits, one member of their objective replaced."""
    asked = f"class Asked(type(Digits.objective)):\n    def __init__(self): pass\n{textwrap.indent(member, '    ')}\n"
    filled = (
        "asked = Asked()\nvars(asked).update({key: value for key, value in vars(Digits.objective).items() if key not in vars(Asked)})\n"
    )
    return f"{HEAD}{asked}{filled}class Own(Digits):\n    objective = asked\n"


def with_net(code: str) -> str:
    """The digits with a net whose forward runs the code."""
    net = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(64, 10)\n"
    net += "    def forward(self, x):\n"
    return workload("def build_teacher(self): return Net()") + f"\n{net}{textwrap.indent(code, '        ')}\n"


def _attempt(folder: Path, family: str, name: str, text: str) -> Try:

    def run() -> None:
        from slimline.stage import stage_main
        from tasks import data, teacher

        (folder / "reports").mkdir(parents=True)
        (folder / "reports/templates").symlink_to(PROJECT / "reports/templates")
        (folder / "own.py").write_text(text, encoding="utf-8")
        (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")
        os.chdir(folder)
        stage_main("data", data.main, None, [])
        stage_main("teacher", teacher.main, None, [])

    return Try(family, name, run, codes=(2,), lines=15, limit_s=120)


if __name__ == "__main__":
    sys.exit(main())
