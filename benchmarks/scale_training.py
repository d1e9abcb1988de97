"""Pictures a second of the line's training and of a plain PyTorch loop, in a project folder whose stage `data` has run.

    python benchmarks/scale_training.py --turns 3

Both read the same samples, drawn from the whole split, through the same reader, augment them by the same function and step the same net
by the same optimizer, an epoch of each in turns. The line's epochs are timed from the first batch that is asked for to the end of the
last one's step, so neither has validation in it. Prints both medians as JSON.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

import torch
from torch.nn import functional

from slimline.data.batch import Rows
from slimline.data.prepared import load_split
from slimline.data.samples import Samples, Split, head
from slimline.params import Params, Training
from slimline.stage import fix_randomness
from slimline.training.fit import fit
from slimline.workloads import get_workload
from slimline.workloads.guarded import Guarded

SAMPLES, VALIDATION = 512, 64
"""So many of a split, drawn at random, are an epoch: how long a picture takes does not depend on how many there are."""


@dataclass(frozen=True)
class Drawn:
    """Some samples of a split, by their rows; implements slimline.data.samples.Split."""

    split: Split
    drawn: torch.Tensor

    def __len__(self) -> int:
        return len(self.drawn)

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The split's own."""
        return self.split.batches(self.drawn[rows] for rows in order)


@dataclass
class Timed:
    """A split that notes how long each pass over it takes, with what is done between the batches."""

    split: Split
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The split's own."""
        began = time.monotonic()
        yield from self.split.batches(order)
        self.seconds.append(time.monotonic() - began)


def line_seconds(workload: Guarded, train: Split, config: Training) -> float:
    """Of one epoch of `fit`."""
    timed = Timed(train)
    judged = {
        "objective": workload.objective,
        "metric": "accuracy",
        "validation": head(load_split(workload.samples, "validation"), VALIDATION),
    }
    fit(workload.build_teacher(), timed, config, augment=workload.augment, **judged)
    return timed.seconds[0]


def plain_seconds(workload: Guarded, train: Split, config: Training) -> float:
    """Of one epoch of the loop that one would write by hand."""
    torch.set_num_threads(config.threads)
    net, generator = workload.build_teacher().train(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate)
    order = torch.split(torch.randperm(len(train), generator=generator), config.batch_size)
    began = time.monotonic()
    for batch in train.batches(order[: len(train) // config.batch_size]):
        outputs = net(**workload.augment(batch.inputs, generator))
        loss = functional.cross_entropy(outputs, batch.targets)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    return time.monotonic() - began


def main() -> None:
    """Measure in turns, the first one to go the other one each time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    params = Params.load()
    fix_randomness(0)
    workload = get_workload(params.workload)
    whole = load_split(workload.samples, "train")
    train = Drawn(whole, torch.randperm(len(whole))[:SAMPLES])
    config = Training(**params.teacher.model_dump(include=set(Training.model_fields)) | {"epochs": 1})
    found: dict[str, list[float]] = {"line": [], "plain": []}
    ways = {"line": line_seconds, "plain": plain_seconds}
    for turn in range(arguments.turns):
        for name in sorted(ways, reverse=bool(turn % 2)):
            found[name].append(ways[name](workload, train, config))
    samples = len(train) // config.batch_size * config.batch_size
    print(json.dumps({name: samples / median(seconds) for name, seconds in found.items()}))


if __name__ == "__main__":
    main()
