"""The table and the figure of benchmarks/lottery.py, from what each seed's rounds got wrong on the test split."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from scheme_table import standalone

from slimline.methods.prune.lottery_findings import NAMES
from slimline.report.figures import line_figure
from slimline.report.numbers import ABSENT, percent
from slimline.verdict.difference import accuracy_drop

CONFIDENCE = 0.95
TICKET = "ticket"
Wrong = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Tested:
    """One round over all seeds that have it: the share of weights left, and by role the test samples that each seed's net gets wrong."""

    number: int
    left: float
    samples: int
    wrong: tuple[Wrong, ...]

    def accuracies(self, role: str) -> tuple[float, ...]:
        """One a seed; none where the role was not trained in this round."""
        return tuple(1 - len(seed[role]) / self.samples for seed in self.wrong if role in seed)


def read_rounds(folders: Sequence[Path]) -> list[Tested]:
    """The rounds that every seed has finished, one folder a seed."""
    numbers = set.intersection(*({path.stem for path in folder.glob("[0-9]*.safetensors")} for folder in folders))
    return [_tested([json.loads((folder / f"{number}.json").read_text()) for folder in folders]) for number in sorted(numbers)]


def markdown(name: str, rounds: Sequence[Tested], how: str) -> str:
    """A row for the dense net, the rounds with controls and the last."""
    heads = (
        "round",
        "weights left",
        TICKET,
        *NAMES.values(),
        "loss to dense, pp",
        *(f"gain over {control}, pp" for control in NAMES.values()),
    )
    shown = [one for one in rounds if one.number in (0, rounds[-1].number) or any(one.accuracies(role) for role in NAMES)]
    lines = [_line(heads), _line(["---"] * len(heads)), *(_line(list(_cells(one, rounds[0]))) for one in shown)]
    seeds = len(rounds[0].wrong)
    spread = f"means of {seeds} seeds, in brackets the lowest and the highest" if seeds > 1 else "one seed"
    facts = (
        f"{how} Accuracy on {rounds[0].samples} test samples, {spread}; differences with their 95 % interval over test samples (Tango"
        f"{', the flips of all seeds together' if seeds > 1 else ''}). All rounds are in the figure."
    )
    return "\n".join(
        [f"### {name}", "", facts, "", *lines, "", f"![Accuracy against weights left on {name}](images/lottery-{name}.svg)", ""]
    )


def write_figure(rounds: Sequence[Tested], path: Path) -> None:
    """Test accuracy over the weights left, in per cent; of several seeds the mean."""
    dense = 100 * mean(rounds[0].accuracies(TICKET))
    lines = {"dense": [(100 * one.left, dense) for one in (rounds[0], rounds[-1])], TICKET: _points(rounds, TICKET)}
    lines |= {name: points for role, name in NAMES.items() if (points := _points(rounds, role))}
    drawn = line_figure(lines, x_label="weights left, %", y_label="test accuracy, %", log_x=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(standalone(drawn), encoding="utf-8")


def _tested(seeds: Sequence[Mapping[str, object]]) -> Tested:
    wrong = tuple({role: frozenset(samples) for role, samples in seed["wrong"].items()} for seed in seeds)
    return Tested(seeds[0]["round"], mean(seed["left"] for seed in seeds), seeds[0]["samples"], wrong)


def _cells(one: Tested, dense: Tested) -> Iterator[str]:
    yield from (str(one.number), percent(one.left, 1))
    yield from (_spread(one.accuracies(role)) for role in (TICKET, *NAMES))
    yield _difference([(seed[TICKET], before[TICKET]) for seed, before in zip(one.wrong, dense.wrong, strict=True)], one.samples)
    for control in NAMES:
        yield _difference([(seed[control], seed[TICKET]) for seed in one.wrong if control in seed], one.samples)


def _spread(accuracies: Sequence[float]) -> str:
    if not accuracies:
        return ABSENT
    ends = f" [{100 * min(accuracies):.2f}, {100 * max(accuracies):.2f}]" if len(accuracies) > 1 else ""
    return f"{percent(mean(accuracies))}{ends}"


def _difference(pairs: Sequence[tuple[frozenset[int], frozenset[int]]], samples: int) -> str:
    """How many more samples the first of each pair gets wrong, in points, with its interval."""
    if not pairs:
        return ABSENT
    lost, gained = sum(len(first - second) for first, second in pairs), sum(len(second - first) for first, second in pairs)
    drop = accuracy_drop(lost, gained, samples * len(pairs), CONFIDENCE)
    return f"{100 * drop.value:.2f} [{100 * drop.ci[0]:.2f}, {100 * drop.ci[1]:.2f}]"


def _points(rounds: Sequence[Tested], role: str) -> list[tuple[float, float]]:
    return [(100 * one.left, 100 * mean(found)) for one in rounds if (found := one.accuracies(role))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
