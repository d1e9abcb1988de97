"""torchao's `quantize_` with int8 weights and dynamic int8 activations, the README's first example for CPUs: Linear layers alone."""

import torch
from handed import handed

given = handed()
from net import Net, write_packages  # noqa: E402
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_  # noqa: E402

net = Net(given)
quantize_(net.model, Int8DynamicActivationInt8WeightConfig())


def build(size: int) -> torch.export.ExportedProgram:
    """Export at one batch size."""
    with torch.no_grad():
        return torch.export.export(net.by_place(), net.inputs(slice(0, size)))


write_packages(given, build)
given.made("torchao", "torch")
