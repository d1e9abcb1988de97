"""What a small language model loses by losing heads, width and layers, and gets back by training: bits per byte on whole files of its own.

    OMP_NUM_THREADS=1 python benchmarks/language_structure.py --folder /tmp/structure --seeds 0 1 2 --part structure

A Llama of 2.8 million parameters (6 layers, 6 heads in 3 groups) is trained on the standard library's source for each seed, once; each
row is one variant of it on the same test files. Prints JSON lines and, at the end, means and spreads. Parts: structure (nothing is
trained), recovery (60 steps afterwards, beside as many of the whole net), distill (a student of three of the layers).
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from language_structure_nets import prepared, teacher_of
from torch import nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import take
from slimline.data.samples import Samples, head
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.distill.cost import steps_of_equal_compute
from slimline.methods.distill.fewer_layers import fewer_layers
from slimline.methods.prune.depth import depth
from slimline.methods.prune.heads import heads
from slimline.params import (
    DepthParams,
    HeadsParams,
    HiddenStatesParams,
    Recovery,
    ScratchParams,
    SequenceParams,
    SoftTargetsParams,
    StudentTraining,
)
from slimline.training.data import TrainingData
from slimline.training.fit import fit, scored
from slimline.training.lora import fit_updates

CALIBRATION = 64
SCARCE = 512
STUDENT: dict[str, Any] = {"source": "teacher", "epochs": 2, "steps": 80, "batch_size": 16, "learning_rate": 1e-3, "precision": "bfloat16"}
GUIDED: dict[str, Any] = {"alpha": 0.3, "temperature": 2.0}
STEPS: dict[str, Any] = {"epochs": 2, "steps": 60, "batch_size": 16, "precision": "bfloat16"}
HALF_MLP = {"fraction": 0.0, "mlp_ratio": 0.5}
THREE_QUARTERS = {"fraction": 0.0, "mlp_ratio": 0.75}
ONE_GROUP = {"fraction": 1 / 3}
CUTS: dict[str, dict[str, Any]] = {
    **{f"MLP 75 % {name}": THREE_QUARTERS | {"criterion": name} for name in ("l2", "activation")},
    "MLP 75 % activation, refit": THREE_QUARTERS | {"criterion": "activation", "refit": True},
    **{f"1 of 3 groups {name}": ONE_GROUP | {"criterion": name} for name in ("l2", "activation")},
    "1 of 3 groups activation, refit": ONE_GROUP | {"criterion": "activation", "refit": True},
    "1 of 2 queries activation, refit": {"fraction": 0.5, "criterion": "activation", "refit": True, "grouped": "queries"},
    **{f"MLP 50 % {name}": HALF_MLP | {"criterion": name} for name in ("l2", "activation")},
    "MLP 50 % activation, refit": HALF_MLP | {"criterion": "activation", "refit": True},
    "MLP 75 % random": THREE_QUARTERS | {"criterion": "random"},
    "1 of 3 groups random": ONE_GROUP | {"criterion": "random"},
}
LAYERS = {f"1 of 6 layers {name}": {"blocks": 1, "criterion": name} for name in ("output_change", "block_influence", "random")}


def data_for(data: TrainingData) -> MethodData:
    """What methods are given: calibration from the training split."""
    calibration = take(data.train.inputs, slice(0, len(data.train), len(data.train) // CALIBRATION))  # type: ignore[attr-defined]
    return MethodData(
        **data.settings,
        calibration=calibration,
        example=take(calibration, slice(0, 2)),
        collect=lambda model: collect_statistics(model, calibration, 16),
    )


def cut(net: nn.Module, name: str, data: MethodData) -> nn.Module:
    """A variant by its name."""
    if name in LAYERS:
        return depth(net, DepthParams(source="teacher", method="depth", **LAYERS[name]), data=data).model
    return heads(net, HeadsParams(source="teacher", method="heads", **CUTS[name]), data=data).model


def structure(net: nn.Module, data: MethodData) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """What is lost."""
    yield "whole", lambda: net
    for name in (*CUTS, *LAYERS):
        yield name, lambda name=name: cut(net, name, data)  # type: ignore[misc]


def recovery(net: nn.Module, data: MethodData) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """What comes back in 60 steps: of every weight, or of updates of rank 16; the whole net trained as long is the control."""
    for name in ("whole", "MLP 75 % activation, refit", "1 of 3 groups activation, refit", "1 of 6 layers output_change"):
        made = net if name == "whole" else cut(net, name, data)
        yield name, lambda made=made: made  # type: ignore[misc]
        for kind, rate in (("all weights", 5e-4), ("LoRA 16", 3e-3)):
            yield f"{name}, then {kind}", lambda made=made, kind=kind, rate=rate: trained(made, kind, rate, data)  # type: ignore[misc]


def trained(net: nn.Module, kind: str, rate: float, data: MethodData) -> nn.Module:
    """Sixty steps more."""
    config = Recovery(**STEPS, learning_rate=rate, **({"lora_rank": 16} if kind == "LoRA 16" else {}))
    made, _ = (fit if config.lora_rank is None else fit_updates)(net, config=config, **data.settings)
    return made


def distill(net: nn.Module, data: MethodData) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """A student of three of the six layers, with plenty of real text and with 512 windows of it; controls of equal steps and compute."""
    scarce = dataclasses.replace(data, train=data.train.take(slice(0, len(data.train), len(data.train) // SCARCE)))  # type: ignore[attr-defined]
    student = fewer_layers(net, (0, 2, 5), data.example)
    yield "3 of 6 layers", lambda: student
    for amount, given in (("plenty", data), ("scarce", scarce)):
        soft = SoftTargetsParams(**STUDENT, method="soft_targets", **GUIDED)
        steps = steps_of_equal_compute(student, net, soft, head(data.train, 2), data.objective, len(given.train), anew=False)
        configs: dict[str, Any] = {
            "labels alone": ScratchParams(**STUDENT, method="scratch", control_of="x"),
            f"labels alone, equal compute ({steps} steps)": ScratchParams(**STUDENT | {"steps": steps}, method="scratch", control_of="x"),
            "top 64": soft,
            "hidden states": HiddenStatesParams(**STUDENT, method="hidden_states", **GUIDED),
        }
        if amount == "scarce":
            configs["written texts"] = SequenceParams(**STUDENT, method="sequence", texts=SCARCE, real=0.5)
        for name, config in configs.items():
            yield f"{amount}: {name}", lambda config=config, given=given: told(student, net, config, given)  # type: ignore[misc]


def told(student: nn.Module, net: nn.Module, config: StudentTraining, data: MethodData) -> nn.Module:
    """A student; what its method has to tell is printed."""
    made = get_method("distill", config.method)(student, net, config, data=data)
    if made.details:
        print(json.dumps(dict(made.details)), flush=True)
    model: nn.Module = made.model
    return model


PARTS = {"structure": structure, "recovery": recovery, "distill": distill}


def main() -> None:
    """Run one part for some seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where trained nets and results lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", choices=[*PARTS], default="structure")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; what is done is skipped the next time")
    given = parser.parse_args()
    _, data, test = prepared()
    end = time.monotonic() + given.seconds
    data = dataclasses.replace(data, held_out=test)
    parts = [
        PARTS[given.part](teacher_of(data, given.folder, seed), data_for(dataclasses.replace(data, seed=seed))) for seed in given.seeds
    ]
    for variants in zip(*parts, strict=True):  # seed by seed, so that a run that is stopped has whole rows
        for seed, (name, make) in zip(given.seeds, variants, strict=True):
            if (given.part, seed, name) in done(given.folder) or time.monotonic() > end:
                continue
            began = time.process_time()
            made = make()
            row = {"part": given.part, "seed": seed, "variant": name, "bits_per_byte": judged(made, test, data)}
            row |= {"parameters": sum(value.numel() for value in made.parameters())}
            row |= {"cpu_s": time.process_time() - began, "load": os.getloadavg()[0]}
            with (given.folder / "rows.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    table(given.folder, given.part)


def judged(net: nn.Module, test: Samples, data: TrainingData) -> float:
    """Bits per byte on the test files."""
    return float(data.objective.metrics["bits_per_byte"].figure(scored(net, test, data.objective)))


def done(folder: Path) -> set[tuple[str, int, str]]:
    """Which rows there are: part, seed, variant."""
    path = folder / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return {(row["part"], row["seed"], row["variant"]) for row in rows}


def table(folder: Path, part: str) -> None:
    """Mean and spread of each variant over the seeds that there are."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["part"] == part:
            found.setdefault(row["variant"], {})[row["seed"]] = row
    whole = {row["seed"]: row["bits_per_byte"] for row in rows if row["variant"] == "whole"}
    for name, by_seed in found.items():
        values = [row["bits_per_byte"] for row in by_seed.values()]
        above = [row["bits_per_byte"] - whole[seed] for seed, row in by_seed.items() if seed in whole]
        spread = statistics.stdev(above) if len(above) > 1 else 0.0
        parameters = next(iter(by_seed.values()))["parameters"]
        lost = f"{statistics.mean(above):+.4f} ± {spread:.4f}"
        print(f"{name:45} {parameters:>10,} {statistics.mean(values):.4f}  {lost}  ({len(values)} seeds)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
