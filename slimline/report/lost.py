"""The samples that the baseline had right and a variant has not, shown as the workload shows a sample."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from slimline.report.controls import Predictions
from slimline.report.numbers import listed

MOST_SHOWN = 48
Answers = Mapping[str, list[tuple[str, str]]]
"""answer -> the (variant, target) pairs that give it"""


@dataclass(frozen=True)
class Lost:
    """One test sample: its picture, its label, the baseline's answer, and who answers what instead."""

    index: int
    picture: Markup
    label: str
    baseline: str
    baseline_confidence: float
    answers: tuple[tuple[str, str], ...]
    """(the wrong answer, those who give it)"""
    losers: int


@dataclass(frozen=True)
class LostSamples:
    """The samples that most deployed variants lost, and how many there are in all."""

    shown: tuple[Lost, ...]
    total: int


def lost_samples(
    predictions: Predictions,
    table: pd.DataFrame,
    labels: Sequence[str],
    show: Callable[[Mapping[str, Any]], str],
    most: int = MOST_SHOWN,
) -> LostSamples:
    """Test samples with label = baseline's answer but not every variant's; those lost by most stand first.

    `table` holds at least those samples, under their number in the test split.
    """
    losers: dict[int, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    firsts: dict[int, Mapping[str, Any]] = {}
    for key, predicted in predictions.items():
        wrong = predicted[(predicted["baseline"] == predicted["label"]) & (predicted["variant"] != predicted["label"])]
        for row in wrong.to_dict("records"):
            losers[int(row["index"])][labels[int(row["variant"])]].append(key)
            firsts.setdefault(int(row["index"]), row)
    order = sorted(losers, key=lambda index: (-sum(map(len, losers[index].values())), index))
    targets = sorted({target for _, target in predictions})
    shown = [
        Lost(
            index=index,
            picture=Markup(show(table.loc[index].to_dict())),
            label=labels[int(firsts[index]["label"])],
            baseline=labels[int(firsts[index]["baseline"])],
            baseline_confidence=float(firsts[index]["baseline_confidence"]),
            answers=_by_answer(losers[index], targets),
            losers=sum(map(len, losers[index].values())),
        )
        for index in order[:most]
    ]
    return LostSamples(tuple(shown), len(order))


def _by_answer(answers: Answers, targets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The most given answer first; a variant's targets are named only where they disagree."""
    order = sorted(answers, key=lambda answer: (-len(answers[answer]), answer))
    return tuple((answer, ", ".join(_names(answers[answer], targets))) for answer in order)


def _names(keys: Sequence[tuple[str, str]], targets: Sequence[str]) -> list[str]:
    on: dict[str, list[str]] = defaultdict(list)
    for variant, target in keys:
        on[variant].append(target)
    return [name if len(found) == len(targets) else f"{name} on {listed(found)}" for name, found in on.items()]
