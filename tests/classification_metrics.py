"""Accuracy and macro averages as scikit-learn has them: what the objective of classes is held against."""

import numpy as np
from sklearn.metrics import precision_recall_fscore_support


def classification_metrics(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Of logits [N, classes] and class indices [N]."""
    predicted = outputs.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(targets, predicted, average="macro", zero_division=0.0)
    return {"accuracy": float((predicted == targets).mean()), "precision": float(precision), "recall": float(recall), "f1": float(f1)}
