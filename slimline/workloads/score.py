"""One figure out of a workload's metrics."""

import numpy as np

from slimline.errors import WorkloadError
from slimline.training.fit import Metric
from slimline.workloads import Workload


def metric_of(workload: Workload, name: str) -> Metric:
    """The function (outputs, targets) -> the named metric.

    Raises:
        WorkloadError: when called, if the workload has no metric of that name.
    """

    def metric(outputs: np.ndarray, targets: np.ndarray) -> float:
        metrics = workload.metrics(outputs, targets)
        if name not in metrics:
            raise WorkloadError(
                f"params.yaml: gate.metric: workload {workload.name!r} has no metric {name!r}; it has: {', '.join(metrics)}"
            )
        return metrics[name]

    return metric
