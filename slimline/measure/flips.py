"""Which samples the variant lost and gained against the baseline, and recall per class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CONFIDENCE_DIGITS = 6


@dataclass(frozen=True)
class Flips:
    """Samples that only the baseline had right (lost) and that only the variant had right (gained)."""

    lost: int
    gained: int


def predictions_table(targets: NDArray[np.int64], baseline: NDArray[np.float32], variant: NDArray[np.float32]) -> pd.DataFrame:
    """One row a test sample: index, label, both predicted classes and both confidences (softmax), from logits [N, classes]."""
    return pd.DataFrame(
        {
            "index": np.arange(len(targets), dtype=np.int64),
            "label": targets.astype(np.int64),
            "baseline": baseline.argmax(axis=1).astype(np.int64),
            "variant": variant.argmax(axis=1).astype(np.int64),
            "baseline_confidence": _confidence(baseline),
            "variant_confidence": _confidence(variant),
        }
    )


def count_flips(table: pd.DataFrame) -> Flips:
    """Count both ways in a table of predictions."""
    baseline, variant = table["baseline"] == table["label"], table["variant"] == table["label"]
    return Flips(lost=int((baseline & ~variant).sum()), gained=int((variant & ~baseline).sum()))


def flipped_samples(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test split that were lost or gained, under their number there; `table` holds the predictions of all."""
    flipped = (table["baseline"] == table["label"]) != (table["variant"] == table["label"])
    return samples.reset_index(drop=True)[flipped.to_numpy()].rename_axis("sample")


def recall_per_class(table: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Label -> {"recall", "baseline_recall"} for every class that occurs in the table."""
    found = {}
    for index, label in enumerate(labels):
        rows = table[table["label"] == index]
        if len(rows):
            recall, before = ((rows[who] == index).mean() for who in ("variant", "baseline"))
            found[label] = {"recall": float(recall), "baseline_recall": float(before)}
    return found


def _confidence(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    share: NDArray[np.float64] = shifted.max(axis=1) / shifted.sum(axis=1)
    return share.round(CONFIDENCE_DIGITS)
