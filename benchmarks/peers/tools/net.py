"""The teacher as a module, for the tools that work on modules, and what they need beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from handed import Handed
from torch import Tensor, nn

from slimline.artifact.variant import load_variant
from slimline.data.prepared import load_split
from slimline.data.samples import Split
from slimline.objectives import Objective
from slimline.params import Params
from slimline.workloads import get_workload


class Net:
    """A teacher, its objective and its data; `examples` are calibration samples by input name."""

    def __init__(self, given: Handed) -> None:
        torch.manual_seed(given.facts["seed"])
        torch.set_num_threads(2)
        self.given, workload = given, get_workload(Params.load(Path("params.yaml")).workload)
        self.objective: Objective = workload.objective
        self.train: Split = load_split(workload.samples, "train")
        self.model: nn.Module = load_variant(Path("data/models/teacher"), workload).model.eval()
        self.examples = {name: torch.from_numpy(values) for name, values in given.calibration.items()}

    def inputs(self, rows: slice) -> tuple[Tensor, ...]:
        """Some calibration samples, in the graph's order."""
        return tuple(self.examples[name][rows].clone() for name in self.given.facts["inputs"])

    def by_place(self) -> nn.Module:
        """The model called by place, as the tools' examples call it."""
        return ByPlace(self.model, self.given.facts["inputs"]).eval()


class ByPlace(nn.Module):
    """A model whose inputs are given in order."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Any:
        """As the model, by name."""
        return self.model(**dict(zip(self.names, inputs, strict=True)))


def write_packages(given: Handed, build: Callable[[int], Any]) -> None:
    """An AOTInductor package for each batch size: `build` gives the exported program of one, with weights frozen in it."""
    for size in given.facts["batch_sizes"]:
        folder = given.out / f"batch{size}"
        folder.mkdir(exist_ok=True)
        settings = {"freezing": True, "cpp.threads": 1, "aot_inductor.model_name_for_generated_files": "model"}
        torch._inductor.aoti_compile_and_package(build(size), package_path=str(folder / "model.pt2"), inductor_configs=settings)
