"""What fits: every kind of net, by every method, on every target: works, with drop and speed, or the sentence that refuses it.

    python benchmarks/matrix.py --out /tmp/matrix                                   # all of it: hours
    python benchmarks/matrix.py --out /tmp/matrix --nets volume,unet --targets onnxruntime,openvino

For each net the stages data, teacher and calibrate run once; every method then makes its variant, every target compiles it, and the test
split is answered by it. What is there already in --out is kept, so that a second call goes on; `--docs` writes the nets of --out into
docs/what-fits.md, and leaves the others as they stand there. Drops are those of the whole line, against the teacher, with their 95 %
interval. Speeds are one launch of this process, in turns with the teacher in eager PyTorch, on 32 samples and one thread: the line's own
`time` has intervals, this table has none.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from matrix_nets import METHODS, NETS, Net
from matrix_table import page

from slimline.artifact.missed import read_missed
from slimline.artifact.variant import load_variant
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.errors import NotMade, SlimlineError
from slimline.loaders import Outputs
from slimline.measure.machine import fingerprint
from slimline.measure.timing import take_turn
from slimline.model import Model
from slimline.params import TARGETS, TEACHER, Params
from slimline.runtime import load
from slimline.stage import Stage, fix_randomness
from slimline.workloads import get_workload
from slimline.workloads.guarded import Guarded
from tasks import calibrate, compile, data, distill, edit, quantize, teacher
from tasks.evaluate import answers_of, together
from tasks.evaluate import run as evaluated

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs/what-fits.md"
MAKERS: dict[str, Callable[[Stage], None]] = {
    "prune": edit.main,
    "factorize": edit.main,
    "quantize": quantize.main,
    "distill": distill.main,
}
BATCH, ROUNDS = 32, 5
Cell = dict[str, Any]
"""A drop with its interval and a speed ratio; or `refused`, a sentence."""


@dataclass(frozen=True)
class InProcess:
    """A compiled model as tasks.evaluate asks a worker of it."""

    location: Path
    model: Model

    def predict(self, arrays: Any, batch_size: int) -> Outputs:  # noqa: ARG002 - as a worker's
        """Its outputs; batches come in at most so many samples."""
        found: Outputs = self.model.predict(arrays)
        return found


def params_of(net: Net) -> dict[str, Any]:
    """The whole params.yaml of one net with every method; targets are tried by hand, since no params.yaml may ask for what is refused."""
    return {
        "workload": net.workload,
        "seed": 0,
        "data": {"path": "workloads", "test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 64, **net.data},
        "model": {"path": "workloads", **net.model},
        "teacher": {"source": "train", "epochs": 20, "batch_size": 64, "learning_rate": 0.002, "threads": 1, **net.teacher},
        "calibrate": {"samples": 64, "batch_size": 32},
        **{section: {name: {**entry, **net.methods.get(name, {})} for name, entry in found.items()} for section, found in METHODS.items()},
        "deploy": {"variants": [TEACHER], "targets": ["eager"]},
        "evaluate": {"batch_size": BATCH, "threads": 1, "resamples": 1000},
        "gate": {"metric": net.metric, **({"max_drop": 0.02} if net.metric == "accuracy" else {"max_relative_drop": 0.05})},
    }


def prepared(folder: Path, net: Net) -> tuple[Params, Guarded]:
    """The project of a net, with what every method stands on; made in the folder that this process is in."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params_of(net), sort_keys=False), encoding="utf-8")
    params = Params.load(folder / "params.yaml")
    for stage, made in ((data, "data/prepared"), (teacher, "data/models/teacher"), (calibrate, "data/calibration")):
        if not (folder / made).is_dir():
            name = stage.__name__.rpartition(".")[2]
            fix_randomness(params.seed)
            stage.main(Stage(name, name, None, params))
    return params, get_workload(params.workload, folder)


def made(stage: Stage) -> str:
    """Make a variant, where it is not there: empty, or why it is not made."""
    folder = Path("data/models") / stage.variant
    if stage.variant == TEACHER or folder.is_dir():
        return read_missed(folder).reason if read_missed(folder) else ""
    fix_randomness(stage.params.seed)
    return _refused(MAKERS[stage.name], stage)


def cell(stage: Stage, measure: bool) -> Cell:
    """One variant on one target: compiled, held to its source, answered and timed."""
    if stage.variant != TEACHER and (why := stage.params.variants[stage.variant][1].refused_by(str(stage.target))):
        return {"refused": why}
    folder = Path("data/compiled") / stage.label
    fix_randomness(stage.params.seed)
    if why := _refused(compile.main, stage):
        return {"refused": why}
    model = load(folder, workload=stage.params.workload, trust_code=True)
    found = figures(stage, InProcess(folder, model))
    if measure:
        found["speed"] = speed(stage, model)
    shutil.rmtree(folder)
    return found


def figures(stage: Stage, worker: InProcess) -> Cell:
    """The drop against the teacher, on the test split."""
    workload, test = stage.workload, load_split(stage.workload.samples, "test")
    net = load_variant(Path("data/models") / TEACHER, workload).model
    parts = answers_of(net, worker, test, workload.objective, BATCH)  # type: ignore[arg-type]
    drop = evaluated(together(parts), workload.objective, stage.metric, stage.params)["drop"]
    return {"drop": drop["value"], "ci": drop["ci"], "unit": drop["unit"]}


def speed(stage: Stage, model: Model) -> float:
    """How many times faster than the teacher in eager PyTorch: the median of a few turns, on CPU time."""
    batch = as_arrays(head(load_split(stage.workload.samples, "test"), BATCH).inputs)
    baseline = load(Path("data/models") / TEACHER, workload=stage.params.workload)
    turns = [(take_turn(lambda: baseline.run(batch), 2).cpu_ms, take_turn(lambda: model.run(batch), 2).cpu_ms) for _ in range(ROUNDS)]
    return statistics.median(before / now for before, now in turns)


def _refused(run: Callable[[Stage], None], stage: Stage) -> str:
    """What a stage says where it cannot."""
    try:
        run(stage)
    except NotMade as error:
        return error.reason
    except SlimlineError as error:
        return " ".join(str(error).split())
    return ""


def rows(folder: Path, net: Net, targets: Sequence[str], methods: Sequence[str]) -> Iterator[tuple[str, str, Cell]]:
    """(method, target, cell) of all that is asked and not there yet."""
    known = read(folder)
    params, workload = prepared(folder, net)
    sections = {TEACHER: "teacher", **{name: section for name, (section, _) in params.variants.items()}}
    for name in [one for one in sections if one in (methods or sections)]:
        open_targets = [target for target in targets if f"{name} {target}" not in known]
        why = made(Stage(sections[name], name, None, params, workload)) if open_targets else ""
        for target in open_targets:
            yield name, target, {"refused": why} if why else cell(Stage("compile", name, target, params, workload), measure=True)


def read(folder: Path) -> dict[str, Cell]:
    """The cells that stand: "method target" -> cell."""
    path = folder / "cells.json"
    found: dict[str, Cell] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def measure(out: Path, net: Net, targets: Sequence[str], methods: Sequence[str]) -> None:
    """Fill a net's cells, each written as it comes."""
    folder = out / net.name
    (folder / "workloads").mkdir(parents=True, exist_ok=True)
    for name in net.files:
        shutil.copy(PROJECT / "benchmarks/workloads" / name, folder / "workloads" / name)
    shutil.copytree(PROJECT / "reports/templates", folder / "reports/templates", dirs_exist_ok=True)
    if net.prepare and not (folder / "photos").is_dir():
        net.prepare(folder)
    with chdir(folder):
        try:
            for name, target, found in rows(folder, net, targets, methods):
                (folder / "cells.json").write_text(json.dumps(read(folder) | {f"{name} {target}": found}, indent=1))
                sys.stderr.write(f"{net.name} {name} {target}: {json.dumps(found)[:160]}\n")
        except SlimlineError as error:
            (folder / "refused.txt").write_text(" ".join(str(error).split()))
            sys.stderr.write(f"{net.name}: {error}\n")


def main() -> None:
    """Measure what is asked, write the page of all that stands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nets", type=lambda given: given.split(","), default=list(NETS))
    parser.add_argument("--targets", type=lambda given: given.split(","), default=list(TARGETS))
    parser.add_argument("--methods", type=lambda given: given.split(","), default=[], help="names of variants; default: all")
    parser.add_argument("--docs", action="store_true", help="write these nets into docs/what-fits.md")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    for name in arguments.nets:
        measure(out, NETS[name], arguments.targets, arguments.methods)
    found = {name: (read(out / name), _refusal(out / name)) for name in NETS if (out / name).is_dir()}
    machine = fingerprint()
    (out / "what-fits.md").write_text(page(found, machine), encoding="utf-8")
    if arguments.docs:
        PAGE.write_text(page(found, machine, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _refusal(folder: Path) -> str:
    path = folder / "refused.txt"
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    main()
