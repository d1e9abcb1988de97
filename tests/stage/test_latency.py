"""The clock of methods with a latency budget: asked for only when there is one, and a narrower model is faster by it."""

import subprocess
import sys

import torch
from torch import nn

from tasks.latency import latency_beside
from tests.shared_export import shared_exports

EXAMPLE = {"input": torch.zeros(2, 8, 32, 32)}


def convolutions(width: int) -> nn.Module:
    torch.manual_seed(width)
    layers = (nn.Conv2d(8, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)).eval()


def test_a_narrow_model_is_faster_and_equal_ones_are_alike() -> None:
    source = convolutions(64)
    with shared_exports():
        latency_ms = latency_beside(source, EXAMPLE)
        whole, narrow = latency_ms(source), latency_ms(convolutions(16))
    assert whole == latency_ms(source) > 0, "the source is timed once"
    assert 0 < narrow < whole, "a tenth of the multiply-accumulates"


def test_no_runtime_is_loaded_before_the_first_call() -> None:
    code = (
        "import sys, torch; from tasks import edit; from tasks.latency import latency_beside\n"
        "latency_beside(torch.nn.Linear(2, 2), {'input': torch.zeros(2, 2)})\n"
        "assert not {'onnx', 'onnxruntime', 'onnxscript'} & set(sys.modules), 'a stage without a latency budget loads them'"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
