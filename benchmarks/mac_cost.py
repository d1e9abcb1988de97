"""The time of a multiply-accumulate by kind of layer and precision: what `mac_cost` of a mixed quantization is filled with.

    OMP_WAIT_POLICY=passive python benchmarks/mac_cost.py --rounds 30

Three layers of one kind a graph, in each precision, compiled as slimline compiles it; process CPU time, one thread, all graphs
of one kind in turns (A B C | C B A), the median of the rounds' ratios to float32. The last column is a float32
multiply-accumulate's time over that of the first row. docs/decisions/0007 has the figures of one machine.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums
from slimline.artifact.signature import Arrays
from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch, as_arrays, take
from slimline.data.signature import signature_of
from slimline.loaders import Outputs
from slimline.loaders import onnxruntime as onnxruntime_loader
from slimline.loaders import openvino as openvino_loader
from slimline.measure.timing import Sample, time_calls
from slimline.methods import get_method
from slimline.methods.quantize.mixed_cost import layer_macs
from slimline.methods.quantize.plan import Plan
from slimline.params import TEACHER, HalfParams, StaticParams, WeightOnlyParams
from slimline.training.fit import predict

LOADERS = {"onnxruntime": onnxruntime_loader.load, "openvino": openvino_loader.load}
PRECISIONS = ("float32", "bfloat16", "float16", "int8", "int4")
SAMPLE_MS = 4.0
NS = "float32 ns a MAC"
Infer = Callable[[Arrays], Outputs]


class Stack(nn.Module):
    """Three layers of one kind with ReLU between them, so that int8 flows from layer to layer as it does in a net."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))

    def forward(self, x: Tensor) -> Tensor:
        """[N, …] -> [N, outputs]."""
        y: Tensor = self.body(x)
        return y.flatten(2).mean(dim=2) if y.dim() > 2 else y


def convolutions(channels: int, kernel: int, groups: int = 1) -> nn.Module:
    """Three convolutions that keep channels and size."""
    return Stack([nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups) for _ in range(3)])


SUBJECTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "3x3 convolution, 64 channels, 16x16": (lambda: convolutions(64, 3), (64, 16, 16)),
    "1x1 convolution, 128 channels, 16x16": (lambda: convolutions(128, 1), (128, 16, 16)),
    "3x3 convolution, 128 channels, 8x8": (lambda: convolutions(128, 3), (128, 8, 8)),
    "Linear, 512": (lambda: Stack([nn.Linear(512, 512) for _ in range(3)]), (512,)),
    "3x3 depthwise, 128 channels, 16x16": (lambda: convolutions(128, 3, 128), (128, 16, 16)),
}


def plan_of(model: nn.Module, precision: str, inputs: Batch) -> Plan | None:
    """Every layer in one precision, as `static`, `half` and `weight_only` plan it."""
    if precision == "float32":
        return None
    if precision == "int8":
        statistics = collect_statistics(model, inputs, 32)
        return get_method("quantize", "static")(model, StaticParams(source=TEACHER, method="static"), statistics=statistics).plan
    if precision == "int4":
        return get_method("quantize", "weight_only")(model, WeightOnlyParams(source=TEACHER, method="weight_only")).plan
    return get_method("quantize", "half")(model, HalfParams(source=TEACHER, method="half", dtype=precision)).plan


def compiled(target: str, model: nn.Module, plan: Plan | None, inputs: Batch, folder: Path) -> Infer:
    """The model on a runtime, as a function."""
    few = take(inputs, slice(0, 2))
    signature = signature_of([few], predict(model, few))
    lowered = get_method("compile", target)(model, plan, folder, example=few, calibration=inputs, signature=signature)
    names: dict[str, Any] = {"variant": folder.name, "target": target, "signature": signature}
    ran = {"execution": lowered.execution, "computes": lowered.computes}
    manifest = CompiledManifest.model_construct(**names, **ran, files=checksums(folder))
    infer, _ = LOADERS[target](folder, manifest, 1)
    return infer


def interleaved(subjects: dict[str, Infer], batch: Arrays, rounds: int) -> dict[str, list[Sample]]:
    """Time every subject once a round, in order in one round and in reverse in the next."""
    calls = {name: max(1, round(SAMPLE_MS / max(time_calls(lambda f=f: f(batch), 3).cpu_ms, 0.01))) for name, f in subjects.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    for turn in range(rounds):
        for name in list(subjects) if turn % 2 == 0 else list(subjects)[::-1]:
            samples[name].append(time_calls(lambda f=subjects[name]: f(batch), calls[name]))
    return samples


def costs(samples: dict[str, list[Sample]]) -> dict[str, float]:
    """Each precision's CPU time over float32's: the median of the rounds' ratios."""
    reference = [sample.cpu_ms for sample in samples["float32"]]
    return {
        name: float(np.median([now.cpu_ms / before for now, before in zip(taken, reference, strict=True)]))
        for name, taken in samples.items()
    }


def float32_ns(samples: list[Sample], macs: int, batch_size: int) -> float:
    """Nanoseconds a multiply-accumulate, from the median of the samples."""
    return float(np.median([sample.cpu_ms for sample in samples])) * 1e6 / (macs * batch_size)


def measured(target: str, batch_sizes: list[int], rounds: int) -> dict[int, dict[str, dict[str, float]]]:
    """Batch size -> kind of layer -> cost by precision, and the float32 nanoseconds a multiply-accumulate."""
    found: dict[int, dict[str, dict[str, float]]] = {size: {} for size in batch_sizes}
    for name, (build, shape) in track(SUBJECTS.items(), target):
        torch.manual_seed(0)
        model, inputs = build().eval(), {"x": torch.rand(64, *shape)}
        with tempfile.TemporaryDirectory() as place:
            subjects: dict[str, Infer] = {}
            for precision in PRECISIONS:
                folder = Path(place) / precision
                folder.mkdir()
                subjects[precision] = compiled(target, model, plan_of(model, precision, inputs), inputs, folder)
            macs = sum(layer_macs(model, take(inputs, slice(0, 2))).values())
            for size in batch_sizes:
                samples = interleaved(subjects, as_arrays(take(inputs, slice(0, size))), rounds)
                found[size][name] = costs(samples) | {NS: float32_ns(samples["float32"], macs, size)}
    return found


def show(title: str, found: dict[str, dict[str, float]]) -> None:
    """Print the table of one target and batch size."""
    table: Any = Table("layer", *PRECISIONS, "float32 MAC", title=title)
    first = next(iter(found.values()))[NS]
    for name, row in found.items():
        table.add_row(name, *(f"{row[precision]:.2f}" for precision in PRECISIONS), f"{row[NS] / first:.2f}")
    Console(width=140).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for target in LOADERS:
        for batch_size, found in measured(target, arguments.batch_sizes, arguments.rounds).items():
            show(f"{target}, batch {batch_size}: CPU time, float32 = 1", found)


if __name__ == "__main__":
    main()
