"""The samples on which variants are worse than the baseline, shown as the workload shows a sample."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from slimline.report.controls import Predictions
from slimline.report.numbers import listed

MOST_SHOWN = 48
Answers = Mapping[str, list[tuple[str, str]]]
"""answer -> the (variant, target) pairs that give it"""


@dataclass(frozen=True)
class Lost:
    """One test sample: its picture, what it should be, the baseline's answer, and who answers what instead."""

    index: int
    picture: Markup
    label: str
    baseline: str
    baseline_confidence: float | None
    answers: tuple[tuple[str, str], ...]
    """(the worse answer, those who give it)"""
    losers: int


@dataclass(frozen=True)
class LostSamples:
    """The samples that most deployed variants lost, how many there are in all, and what losing means here."""

    shown: tuple[Lost, ...]
    total: int
    what: str


RIGHT = "that the teacher in eager PyTorch has right and at least one deployed variant has wrong"
NEARER = "on which the error of a deployed variant grew most against the teacher"


def lost_samples(
    predictions: Predictions,
    samples: Mapping[int, Mapping[str, Any]],
    shown: Callable[[Any], str],
    show: Callable[[Mapping[str, Any]], str],
    most: int = MOST_SHOWN,
) -> LostSamples:
    """Test samples on which variants are worse than the baseline; those lost by most stand first, then those of the largest error.

    `samples` holds at least those rows, under their number in the test split; `shown` writes an answer, `show` draws a row.
    """
    losers: dict[int, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    firsts: dict[int, Mapping[str, Any]] = {}
    growth: dict[int, float] = defaultdict(float)
    exact = all(set(table["variant_error"]) | set(table["baseline_error"]) <= {0, 1} for table in predictions.values())
    for key, predicted in predictions.items():
        for row in predicted[predicted["variant_error"] > predicted["baseline_error"]].to_dict("records"):
            index = int(row["index"])
            if index not in samples:
                continue
            losers[index][shown(row["variant"])].append(key)
            firsts.setdefault(index, row)
            growth[index] = max(growth[index], float(row["variant_error"] - row["baseline_error"]))
    order = sorted(losers, key=lambda index: (-growth[index], -sum(map(len, losers[index].values())), index))
    targets = sorted({target for _, target in predictions})
    found = [_lost(index, firsts[index], losers[index], samples[index], targets, shown, show) for index in order[:most]]
    return LostSamples(tuple(found), len(order), RIGHT if exact else NEARER)


def _lost(
    index: int,
    first: Mapping[str, Any],
    answers: Answers,
    row: Mapping[str, Any],
    targets: Sequence[str],
    shown: Callable[[Any], str],
    show: Callable[[Mapping[str, Any]], str],
) -> Lost:
    return Lost(
        index=index,
        picture=Markup(show(row)),
        label=shown(first["target"]),
        baseline=shown(first["baseline"]),
        baseline_confidence=first.get("baseline_confidence"),
        answers=_by_answer(answers, targets),
        losers=sum(map(len, answers.values())),
    )


def _by_answer(answers: Answers, targets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The most given answer first; a variant's targets are named only where they disagree."""
    order = sorted(answers, key=lambda answer: (-len(answers[answer]), answer))
    return tuple((answer, ", ".join(_names(answers[answer], targets))) for answer in order)


def _names(keys: Sequence[tuple[str, str]], targets: Sequence[str]) -> list[str]:
    on: dict[str, list[str]] = defaultdict(list)
    for variant, target in keys:
        on[variant].append(target)
    return [name if len(found) == len(targets) else f"{name} on {listed(found)}" for name, found in on.items()]
