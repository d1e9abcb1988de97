"""The lottery ticket on a workload, 30 rounds of 10 %, beside the dense net and its two controls: accuracy against sparsity.

    python benchmarks/lottery.py --workload digits --out /tmp/lottery --docs     # trains, or goes on where it was stopped
    python benchmarks/lottery.py --workload cnn11m --out /tmp/lottery --docs

Each seed's rounds are kept below --out and never trained twice; --seeds 0,1,2 overrides the list of the workload. Judged on the
test split, which no training and no choice of an epoch has seen. Writes NAME.md and images/lottery-NAME.svg into --out after every
seed, and with --docs at the end into docs/methods. With --no-training it writes what there is, of the rounds that all seeds have.
"""

import argparse
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lottery_table import markdown, read_rounds, write_figure
from torch import Tensor, nn

from slimline.artifact.folder import write_json
from slimline.artifact.weights import read_weights, write_weights
from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import take
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.methods.prune.lottery_rounds import Trained, from_tensors
from slimline.methods.prune.lottery_ticket import lottery_ticket, masks_of
from slimline.objectives import Objective
from slimline.params import LotteryTicketParams
from slimline.stage import fix_randomness
from slimline.training.checkpoints import Checkpoints
from slimline.training.fit import predict
from slimline.workloads import get_workload
from slimline.workloads.guarded import Guarded

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs/methods"
SIZES = {"test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128}
FIVES = [5, 10, 15, 20, 25, 30]


@dataclass(frozen=True)
class Setting:
    """A workload, how its tickets are trained, and the seeds of initial weights and batches; the splits are those of seed 0."""

    workload: str
    config: Mapping[str, Any]
    seeds: tuple[int, ...]
    bfloat16: bool = False
    """Whether training multiplies in bfloat16, weights staying float32: about half the time on a CPU with AMX."""


class MixedPrecision(nn.Sequential):
    """A Sequential that multiplies in bfloat16 while it trains, and in float32 when it is judged."""

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Sequential."""
        if not self.training:
            return super().forward(input)
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(input.contiguous(memory_format=torch.channels_last)).float()


SETTINGS = {
    "digits": Setting(
        "digits",
        {"control_rounds": FIVES, "training": {"epochs": 15, "batch_size": 64, "learning_rate": 0.002}},
        (0, 1, 2),
    ),
    "digits-rewound": Setting(
        "digits",
        {"control_rounds": FIVES, "rewind_epoch": 1, "training": {"epochs": 15, "batch_size": 64, "learning_rate": 0.002}},
        (0,),
    ),
    "cnn11m": Setting(
        f"{PROJECT}/benchmarks/workloads/cnn11m.py:Cnn11m",
        {"control_rounds": [10, 20, 30], "training": {"epochs": 5, "batch_size": 64, "learning_rate": 0.001}},
        (0, 1, 2),
        bfloat16=True,
    ),
}


class TestedRounds(Checkpoints):
    """Finished rounds on disk, and beside each what it gets wrong on the test split."""

    def __init__(self, folder: Path, model: nn.Module, test: Samples, objective: Objective) -> None:
        super().__init__(math.inf)  # rounds, and no epochs within
        self._folder, self._model, self._test, self._objective = folder, model, test, objective

    def load(self, name: str) -> Mapping[str, Tensor] | None:
        """The tensors of a finished round."""
        path = self._path(name)
        return read_weights(path) if path.exists() else None

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Judge the round's networks on the test split, then keep them: the weights' name appears last."""
        finished, path = from_tensors(tensors), self._path(name)
        masks = masks_of(self._model, finished.ticket.weights).values()
        judged = {"ticket": finished.ticket, **finished.controls}
        write_json(
            path.with_suffix(".json"),
            {
                "round": int(path.stem),
                "left": sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks),
                "samples": len(self._test),
                "validation": {name: trained.metric for name, trained in judged.items()},
                "wrong": {name: self._wrong(trained) for name, trained in judged.items()},
            },
        )
        draft = path.with_suffix(".draft")
        write_weights(draft, tensors)
        draft.replace(path)
        print(self._folder.name, path.with_suffix(".json").read_text().replace("\n", " ")[:300], flush=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.removeprefix('round-')}.safetensors"

    def _wrong(self, trained: Trained) -> list[int]:
        """The test samples whose class the network does not find."""
        self._model.load_state_dict(dict(trained.weights))
        errors = self._objective.scores(predict(self._model, self._test.inputs), self._test.targets)["error"]
        return np.flatnonzero(errors).tolist()


def initial(workload: Guarded, seed: int, *, bfloat16: bool = False) -> nn.Module:
    """The teacher's architecture with the weights of a seed, as the stages make it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = workload.build_teacher()
    return MixedPrecision(*model) if bfloat16 and isinstance(model, nn.Sequential) else model


def train(setting: Setting, seed: int, folder: Path) -> None:
    """All rounds of one seed, or those that are missing."""
    workload = get_workload(setting.workload)
    parts = {
        name: workload.samples({column: np.stack(table[column]) for column in table}) for name, table in workload.splits(SIZES, 0).items()
    }
    start = partial(initial, workload, seed, bfloat16=setting.bfloat16)
    data = MethodData(
        calibration=parts["calibration"].inputs,
        train=parts["train"],
        validation=parts["validation"],
        objective=workload.objective,
        metric="accuracy",
        collect=lambda model: collect_statistics(model, parts["calibration"].inputs, 32),
        example=take(parts["calibration"].inputs, slice(0, 2)),
        seed=seed,
        augment=workload.augment,
        initial=start,
        checkpoints=TestedRounds(folder, start(), parts["test"], workload.objective),
    )
    fix_randomness(seed)
    lottery_ticket(start(), config_of(setting), data=data)


def config_of(setting: Setting) -> LotteryTicketParams:
    """What would stand in params.yaml."""
    return LotteryTicketParams.model_validate({"source": "teacher", "method": "lottery_ticket", **setting.config})


def started(folder: Path, setting: Setting) -> Path:
    """The folder of one seed's rounds, all trained by one config."""
    asked, path = config_of(setting).model_dump(mode="json"), folder / "config.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != asked:
        raise SystemExit(f"{path}: holds rounds of another config; remove the folder, or give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)
    return folder


def write(name: str, seeds: Sequence[int], out: Path, docs: Path | None) -> None:
    """The figure and the table of the rounds that these seeds have finished."""
    rounds, setting = read_rounds([out / f"{name}-seed{seed}" for seed in seeds]), SETTINGS[name]
    multiplied = ", multiplied in bfloat16" if setting.bfloat16 else ""
    made = (
        f"Made by `python benchmarks/lottery.py --workload {name} --out FOLDER`: {setting.config['training']['epochs']} epochs a training"
    )
    table = markdown(name, rounds, f"{made}{multiplied}.")
    (out / f"{name}.md").write_text(table, encoding="utf-8")
    write_figure(rounds, out / f"images/lottery-{name}.svg")
    if docs:
        write_figure(rounds, docs / f"images/lottery-{name}.svg")
        replace_section(docs / "lottery.md", f"### {name}\n", table)


def replace_section(page: Path, heading: str, section: str) -> None:
    """Put a section in the place of the one with its heading, which ends at the next heading."""
    before, found, rest = page.read_text(encoding="utf-8").partition(heading)
    if not found:
        raise SystemExit(f"{page}: has no heading {heading.strip()!r} for the table to go below")
    after = re.search(r"^#", rest, re.MULTILINE)
    page.write_text(before + section + (f"\n{rest[after.start() :]}" if after else ""), encoding="utf-8")


def main() -> None:
    """Train what is missing, seed after seed, and write what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True, choices=SETTINGS, help="a workload, or one with another setting")
    parser.add_argument("--out", type=Path, required=True, help="where rounds, table and figure go")
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), help="seeds of weights and batches, such as 0,1")
    parser.add_argument("--docs", action="store_true", help="also renew its section and figure in docs/methods/lottery.md")
    parser.add_argument("--no-training", action="store_true", help="only write what is finished")
    arguments = parser.parse_args()
    name, out = arguments.workload, arguments.out
    seeds = arguments.seeds or SETTINGS[name].seeds
    for done, seed in enumerate(() if arguments.no_training else seeds, start=1):
        train(SETTINGS[name], seed, started(out / f"{name}-seed{seed}", SETTINGS[name]))
        write(name, seeds[:done], out, None)
    write(name, seeds, out, DOCS if arguments.docs else None)


if __name__ == "__main__":
    main()
