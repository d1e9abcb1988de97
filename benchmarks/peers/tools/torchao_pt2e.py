"""torchao's static int8 by pt2e for x86, at its defaults: https://docs.pytorch.org, "PyTorch 2 Export Quantization with X86 Backend".

A free batch size fails at run time with frozen weights, so that each batch size is a package of its own.
"""

import torch
from handed import handed

given = handed()
from net import Net, write_packages  # noqa: E402
from torchao.quantization.pt2e import move_exported_model_to_eval  # noqa: E402
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86  # noqa: E402

net = Net(given)


def build(size: int) -> torch.export.ExportedProgram:
    """Quantize at one batch size and export again."""
    module = torch.export.export(net.by_place(), net.inputs(slice(0, size))).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(module, quantizer)
    count = len(next(iter(net.examples.values())))
    with torch.no_grad():
        for start in range(0, count - size + 1, size):
            prepared(*net.inputs(slice(start, start + size)))
    converted = move_exported_model_to_eval(convert_pt2e(prepared))
    with torch.no_grad():
        return torch.export.export(converted, net.inputs(slice(0, size)))


write_packages(given, build)
given.made("torchao", "torch")
