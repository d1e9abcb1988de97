"""What distillation gains where its teacher is asked once: the 11 M CNN teaches its student, with kept answers and with fresh ones.

    python benchmarks/teacher_once.py --epochs 4 --samples 512

Both trainings see every sample as it is, in the same order; the second is given an augmentation that changes nothing, so that its teacher
is asked for every batch of every epoch. In turns, process CPU time, medians; the students are compared at the end.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from slimline.data.batch import Batch
from slimline.data.samples import Samples
from slimline.methods.distill.soft_targets import soft_targets
from slimline.params import SoftTargetsParams
from slimline.training.data import TrainingData
from slimline.training.fit import require_learned
from slimline.workloads import get_workload

PROJECT = Path(__file__).resolve().parents[1]
TURNS = 3
Augment = Callable[[Batch, torch.Generator], Batch]


def samples_of(count: int, seed: int) -> Samples:
    """Random images of the workload's size with random labels: what they show changes no time."""
    draw = torch.Generator().manual_seed(seed)
    return Samples({"input": torch.randn(count, 3, 32, 32, generator=draw)}, torch.randint(10, (count,), generator=draw))


def distilled(config: SoftTargetsParams, train: Samples, augment: Augment | None) -> tuple[float, nn.Module]:
    """CPU seconds of one distillation, and the student."""
    workload = get_workload("benchmarks/workloads/cnn11m.py:Cnn11m", PROJECT)
    torch.manual_seed(0)
    teacher, student = workload.build_teacher(), workload.build_student({})
    data = TrainingData(train=train, validation=samples_of(64, 1), objective=workload.objective, metric="accuracy", augment=augment)
    began = time.process_time()
    made = soft_targets(student, teacher, config, data=data)
    require_learned(made.history, config)
    return time.process_time() - began, made.model


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Of any weight, as a share of the largest weight of its tensor."""
    pairs = [(value, other.state_dict()[name]) for name, value in one.state_dict().items() if value.is_floating_point()]
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs)


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=512)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train = samples_of(arguments.samples, 0)
    config = SoftTargetsParams(source="teacher", method="soft_targets", epochs=arguments.epochs, alpha=0.0)
    ways: dict[str, Augment | None] = {"once": None, "each time": lambda inputs, _generator: inputs}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    students = {}
    for turn in range(TURNS):
        for name in sorted(ways, reverse=bool(turn % 2)):
            spent, students[name] = distilled(config, train, ways[name])
            seconds[name].append(spent)
    once, anew = (median(seconds[name]) for name in ways)
    print(f"{arguments.epochs} epochs of {arguments.samples} samples: {once:.1f} s with answers asked once, {anew:.1f} s asked each time")
    print(f"{anew / once:.2f}x; students differ by at most {largest_difference(*students.values()):.1e} of a tensor's largest weight")


if __name__ == "__main__":
    main()
