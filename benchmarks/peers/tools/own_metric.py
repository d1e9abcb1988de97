"""The gate's metric on the validation split, as NNCF asks for it: higher is better, and no label passes through the tool."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from handed import Arrays, Handed

from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.objectives import metric_of
from slimline.params import Params
from slimline.workloads import get_workload


class Judge:
    """Scores a compiled OpenVINO model on the validation split."""

    def __init__(self, given: Handed) -> None:
        params = Params.load(Path("params.yaml"))
        workload = get_workload(params.workload)
        self.samples = head(load_split(workload.samples, "validation"), len(next(iter(given.validation.values()))))
        self.objective, self.metric = workload.objective, metric_of(workload.objective, given.facts["metric"])
        self.max_drop = float(given.facts["max_drop"])

    def validate(self, model: Any, batches: Iterable[Arrays]) -> tuple[float, None]:
        """The metric of a compiled model, negated where less is better."""
        found = model(next(iter(batches)))
        names = getattr(self.objective, "outputs", None)
        values = [torch.from_numpy(found[place].copy()) for place in range(len(found))]
        outputs = values[0] if len(values) == 1 else dict(zip(names or [str(place) for place in range(len(values))], values, strict=True))
        figure = float(self.metric.figure(self.objective.scores(outputs, self.samples.targets)))
        return (figure if self.metric.better == "higher" else -figure), None
