"""Which samples the variant lost and gained against the baseline, and where it is furthest off."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slimline.data.batch import Tensors, flat, tensors
from slimline.measure.bootstrap import CLUSTER
from slimline.objectives import Objective, Scores

CONFIDENCE_DIGITS = 6
BASELINE, VARIANT = "baseline", "variant"


@dataclass(frozen=True)
class Flips:
    """Samples that only the baseline had right (lost) and that only the variant had right (gained)."""

    lost: int
    gained: int


def flips(baseline: Scores, variant: Scores) -> Flips | None:
    """Counted both ways where an answer is right or wrong (`error` is 0 or 1); None where it is more or less far off."""
    before, after = baseline["error"], variant["error"]
    if not all(np.isin(errors, (0, 1)).all() for errors in (before, after)):
        return None
    return Flips(lost=int((after > before).sum()), gained=int((after < before).sum()))


def worst(baseline: Scores, variant: Scores, most: int) -> NDArray[np.int64]:
    """The rows of the samples whose error grew most, at most so many, the worst first; none whose error did not grow."""
    grown = variant["error"].astype(np.float64) - baseline["error"]
    order = np.argsort(-grown, kind="stable")[:most]
    return order[grown[order] > 0]


def predictions_table(objective: Objective, targets: Tensors, baseline: Tensors, variant: Tensors) -> pd.DataFrame:
    """One row a sample: index, target, both answers and both errors, and cluster and both confidences where the objective notes them.

    `baseline` and `variant` are outputs [N, …]; an answer or target of several values, or in several tensors, is a list. There is no
    target where the objective needs none.
    """
    scores = {who: objective.scores(outputs, targets) for who, outputs in ((BASELINE, baseline), (VARIANT, variant))}
    columns: dict[str, Any] = {"index": np.arange(len(scores[BASELINE]["error"]), dtype=np.int64)}
    if objective.needs_targets:
        columns["target"] = _cells(scores[BASELINE]["target"] if "target" in scores[BASELINE] else _together(targets))
    columns |= {who: _cells(objective.answers(outputs)) for who, outputs in ((BASELINE, baseline), (VARIANT, variant))}
    columns |= {f"{who}_error": found["error"] for who, found in scores.items()}
    columns |= {CLUSTER: scores[BASELINE][CLUSTER]} if CLUSTER in scores[BASELINE] else {}
    confidences = {f"{who}_confidence": found["confidence"] for who, found in scores.items() if "confidence" in found}
    return pd.DataFrame(columns | {name: values.astype(np.float64).round(CONFIDENCE_DIGITS) for name, values in confidences.items()})


def _together(targets: Tensors) -> Any:
    """The only tensor as it is; of several, all numbers of a sample in a row."""
    found = list(tensors(targets).values())
    return found[0] if len(found) == 1 else flat(targets)


def _cells(values: Any) -> Any:
    """A column of a table: values as they are, or each sample's as a list."""
    array = np.asarray(values)
    return array if array.ndim == 1 else [one.tolist() for one in array]
