"""Neural Compressor's static quantization at its defaults: https://github.com/intel/neural-compressor, docs/source/3x/PT_StaticQuant.md."""

import torch
from handed import handed

given = handed()
from net import Net, write_packages  # noqa: E402
from neural_compressor.torch.export import export  # noqa: E402
from neural_compressor.torch.quantization import StaticQuantConfig, convert, prepare  # noqa: E402

net = Net(given)


def build(size: int) -> torch.export.ExportedProgram:
    """Quantize at one batch size and export again."""
    exported = export(net.by_place(), example_inputs=net.inputs(slice(0, size)))
    prepared = prepare(exported, quant_config=StaticQuantConfig())
    count = len(next(iter(net.examples.values())))
    with torch.no_grad():
        for start in range(0, count - size + 1, size):
            prepared(*net.inputs(slice(start, start + size)))
        return torch.export.export(convert(prepared), net.inputs(slice(0, size)))


write_packages(given, build)
given.made("neural-compressor-pt", "torch")
