"""What each way of teaching is worth where training samples are few: on digits and on a table, beside the same student on labels alone.

    python benchmarks/distillation.py train --workload digits --seed 0 --out /tmp/distillation
    python benchmarks/distillation.py report --out /tmp/distillation --into docs/methods/distillation.md

`train` makes a teacher of the whole training split, then every student on shares of it, all with as many steps and nothing augmented, so
that what is made up shows, and writes what each got wrong of the test split. `report` puts the seeds together: for each way the mean over
seeds, and its difference from labels alone with a 95 % interval over the test samples of all seeds (McNemar); what each seed says stands
beside it. Nothing was tuned on what is reported.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from slimline.data.samples import Samples, head
from slimline.methods import get_method
from slimline.methods.distill.alone import share_of, steps_of, without_teacher
from slimline.methods.distill.cost import steps_of_equal_compute
from slimline.methods.distill.derived import derived
from slimline.methods.recalibrate import recalibrated_over
from slimline.params import CONFIGS, Training
from slimline.params.student import StudentShape
from slimline.report.figures import line_figure
from slimline.report.numbers import count as numbered
from slimline.report.numbers import gain
from slimline.training.data import TrainingData
from slimline.training.fit import fit, scored
from slimline.verdict.paired_errors import paired_errors
from slimline.workloads import get_workload

PROJECT = Path(__file__).resolve().parents[1]
BUDGET = {"epochs": 10, "steps": 200, "batch_size": 32, "learning_rate": 0.005}
SHARES = (0.05, 0.1, 0.3)
STUDENTS: dict[str, dict[str, Any]] = {"digits": {"channels": [16, 32, 32]}, "tabular": {"widths": [16, 8]}}
TEACHERS: dict[str, dict[str, Any]] = {"digits": {"epochs": 15, "batch_size": 64}, "tabular": {"epochs": 20, "batch_size": 32}}
CUT = 0.25
SIZES = {"test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 16}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "soft_targets": ("soft_targets", {}),
    "soft_targets, alpha 0": ("soft_targets", {"alpha": 0.0}),
    "dkd": ("dkd", {}),
    "hints": ("hints", {}),
    "attention_transfer": ("attention_transfer", {}),
    "relational": ("relational", {}),
    "assistant": ("assistant", {"assistants": ({"width": 0.5},)}),
    "mutual": ("mutual", {}),
    "self": ("self", {"alpha": 0.5}),
    "soft_targets + mixup": ("soft_targets", {"synthetic": {"kind": "mixup"}}),
    "soft_targets + neighbours": ("soft_targets", {"synthetic": {"kind": "neighbours"}}),
    "soft_targets + noise": ("soft_targets", {"synthetic": {"kind": "noise"}}),
    "soft_targets + inverted": ("soft_targets", {"synthetic": {"kind": "inverted", "samples": 128, "iterations": 60}}),
    "inverted alone": ("soft_targets", {"alpha": 0.0, "synthetic": {"kind": "inverted", "samples": 128, "iterations": 60, "alone": True}}),
}
NOT_FOR = {"tabular": {"dkd", "attention_transfer"}}
EVERYWHERE = {"soft_targets", "dkd", "hints", "soft_targets + mixup", "soft_targets + neighbours"}
"""What is tried at every share; all others at the middle one alone."""
ALONE, COMPUTE = "labels alone", "labels alone, equal compute"
MARKS = "<!-- measured: {} -->", "<!-- end of what was measured -->"
Errors = NDArray[np.float64]


def data_of(name: str, seed: int) -> tuple[TrainingData, Samples]:
    """Training and validation as a stage has them, and the test split."""
    workload = get_workload(name)
    splits = {split: workload.samples({c: np.stack(t[c].to_numpy()) for c in t}) for split, t in workload.splits(SIZES, seed).items()}
    more = {"objective": workload.objective, "metric": "accuracy", "seed": seed, "augment": workload.augmentation}
    return TrainingData(train=splits["train"], validation=splits["validation"], **more), splits["test"]


def teacher_of(name: str, data: TrainingData) -> nn.Module:
    """Trained on the whole training split."""
    torch.manual_seed(data.seed)
    net = get_workload(name).build_teacher()
    return fit(net, config=Training(learning_rate=0.002, patience=10, **TEACHERS[name]), **data.settings)[0]


def student_of(name: str, seed: int) -> nn.Module:
    """The workload's own small one, untrained."""
    torch.manual_seed(seed)
    return get_workload(name).build_student(STUDENTS[name])


def train(name: str, seed: int, folder: Path) -> None:
    """Teach in every way, at every share, and write what was wrong of test; killed at any moment it goes on with the next way.

    First what is tried at every share, then all others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, began = folder / f"{name}-{seed}.json", time.perf_counter()
    data, test = data_of(name, seed)
    teacher = teacher_of(name, data)
    found: dict[str, dict[str, list[float]]] = json.loads(path.read_text())["errors"] if path.exists() else {}
    found[""] = {"teacher": wrong(teacher, test, data)}
    counts = {str(share): len(share_of(data, share).train) for share in SHARES}
    parts = {share: replace(share_of(data, share), augment=None) for share in SHARES}
    work = [(share, way, make) for share, part in parts.items() for way, make in students(name, teacher, part, share)]
    for share, way, make in sorted(work, key=lambda entry: entry[1] not in EVERYWHERE | {ALONE}):
        there = found.setdefault(str(share), {})
        if way not in there:
            there[way] = wrong(make(), test, data)
            path.write_text(json.dumps({"workload": name, "samples": counts, "errors": found}))
    print(f"{name}, seed {seed}: {len(work)} students, {time.perf_counter() - began:.0f} s", flush=True)


def students(name: str, teacher: nn.Module, part: TrainingData, share: float) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """(way, what makes its student) for each way."""
    base = {"source": "teacher", **BUDGET}
    soft = CONFIGS["distill"]["soft_targets"](method="soft_targets", **base)
    own, steps = partial(student_of, name, part.seed), steps_of(soft, len(part.train))
    yield ALONE, lambda: without_teacher(own(), soft, part, steps)
    for way, (method, more) in WAYS.items():
        if way not in NOT_FOR.get(name, ()) and (way in EVERYWHERE or share == SHARES[1]):
            yield way, partial(taught, own, teacher, CONFIGS["distill"][method](method=method, **base, **more), part)
    if share == SHARES[1]:
        some = head(part.train, 2)
        equal = steps_of_equal_compute(own(), teacher, soft, some, part.objective, len(part.train), anew=False)
        yield COMPUTE, lambda: without_teacher(own(), soft, part, equal)
        cut = recalibrated_over(derived(teacher, StudentShape(width=CUT), some.inputs), part.train)
        yield "cut out, labels alone", lambda: without_teacher(cut, soft, part, steps)
        yield "cut out, soft_targets", partial(taught, lambda: cut, teacher, soft, part)


def taught(student: Callable[[], nn.Module], teacher: nn.Module, config: Any, part: TrainingData) -> nn.Module:
    """The student that a method makes."""
    made: nn.Module = get_method("distill", config.method)(student(), teacher, config, data=part).model
    return made


def wrong(model: nn.Module, test: Samples, data: TrainingData) -> list[float]:
    """What each test sample was answered wrong by."""
    errors: list[float] = scored(model, test, data.objective)["error"].astype(float).tolist()
    return errors


def together(folder: Path, name: str) -> tuple[dict[str, int], list[dict[str, dict[str, Errors]]]]:
    """Samples of each share, and of each seed the errors of each way there."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}-*.json"))]
    errors = [{share: {way: np.array(found) for way, found in ways.items()} for share, ways in run["errors"].items()} for run in runs]
    return runs[0]["samples"], errors


def rows(seeds: list[dict[str, Errors]]) -> list[str]:
    """A line of the table for each way, by what it is worth, over the seeds that it was tried with."""
    lines = []
    for way in dict.fromkeys(way for ways in seeds for way in ways if way != ALONE):
        pairs = [(ways[way], ways[ALONE]) for ways in seeds if way in ways and ALONE in ways]
        own, alone = (np.concatenate(side) for side in zip(*pairs, strict=True))
        compared = paired_errors(own, alone, 0.95)
        interval = f"{gain(compared.ci[0], 'fraction')} to {gain(compared.ci[1], 'fraction')}"
        each = ", ".join(f"{100 * (without.mean() - taught.mean()):+.1f}" for taught, without in pairs)
        lines.append((compared.drop, f"| {way} | {100 * compared.first:.1f} % | {gain(compared.drop, 'fraction')} | {interval} | {each} |"))
    return [line for _, line in sorted(lines, key=lambda entry: -entry[0])]


def right(seeds: list[dict[str, dict[str, Errors]]], share: str, way: str) -> float:
    """The mean share of right answers over the seeds that there are."""
    return 1 - float(np.mean([ways[share][way].mean() for ways in seeds if way in ways.get(share, {})]))


def table(folder: Path, name: str) -> str:
    """The measured part of the page for one workload."""
    samples, seeds = together(folder, name)
    whole = right(seeds, "", "teacher")
    parts = [
        f"**{name}**, {numbered(len(seeds), 'seed')}; the teacher, of the whole training split, has {100 * whole:.1f} % right of test."
    ]
    for share, count in samples.items():
        if not any(ALONE in ways.get(share, {}) for ways in seeds):
            continue
        parts += [
            "",
            f"{count} training samples ({float(share):.0%}); labels alone {100 * right(seeds, share, ALONE):.1f} %:",
            "",
            "| way | right | worth | interval | by seed, points |",
            "|---|---|---|---|---|",
            *rows([ways.get(share, {}) for ways in seeds]),
        ]
    return "\n".join(parts)


def figure(folder: Path, name: str) -> str:
    """Right answers over the number of samples, of the ways that were tried at each."""
    samples, seeds = together(folder, name)
    shown = (ALONE, "soft_targets", "soft_targets + mixup", "hints")
    tried = {way: [share for share in samples if any(way in ways.get(share, {}) for ways in seeds)] for way in shown}
    series = {way: [(float(samples[share]), right(seeds, share, way)) for share in shares] for way, shares in tried.items() if shares}
    return line_figure(series, x_label="training samples", y_label="share of right answers on test", log_x=True)


def report(folder: Path, page: Path | None) -> None:
    """Print the tables; put them, and the figure, into the page between its marks."""
    names = [name for name in STUDENTS if list(folder.glob(f"{name}-*.json"))]
    for name in names:
        text = table(folder, name)
        print(text, end="\n\n")
        if page is not None:
            start, end = MARKS[0].format(name), MARKS[1]
            pattern = re.compile(re.escape(start) + r".*?" + re.escape(end), re.S)
            page.write_text(pattern.sub(lambda _match, filled=f"{start}\n{text}\n{end}": filled, page.read_text()))
    if page is not None and names:
        (page.parent / "images/distillation.svg").write_text(figure(folder, names[0]))


def main() -> None:
    """Train or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("train", "report"))
    parser.add_argument("--workload", choices=tuple(STUDENTS), default="digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("/tmp/distillation"))
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.do == "train":
        train(arguments.workload, arguments.seed, arguments.out)
    else:
        report(arguments.out, arguments.into)


if __name__ == "__main__":
    main()
