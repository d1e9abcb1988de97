"""A small depthwise net whose channels have very different ranges: what int8 harms, and what equalisation is for."""

import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch, take
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.objectives.classification import classification

EXAMPLE = {"x": torch.zeros(2, 1, 8, 8)}


def unit(inputs: int, outputs: int, kernel: int, *, groups: int = 1, activation: type[nn.Module] = nn.ReLU6) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), activation())


class DepthwiseNet(nn.Module):
    """A stem, two depthwise separable blocks (widen, filter, narrow), the second with a shortcut, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(1, 8, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(unit(8, 24, 1), unit(24, 24, 3, groups=24), unit(24, 8, 1, activation=nn.Identity)) for _ in range(2)
        )
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] -> [N, 5]."""
        x = self.blocks[0](self.stem(x))
        x = x + self.blocks[1](x)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def images(count: int, seed: int) -> Batch:
    """Smooth noise [N, 1, 8, 8]."""
    noise = torch.randn(count, 1, 10, 10, generator=torch.Generator().manual_seed(seed))
    return {"x": 3 * nn.functional.avg_pool2d(noise, 3, stride=1)}


CALIBRATION, HELD_OUT = images(64, 0), images(64, 1)


def unbalanced_net(spread: float = 30.0) -> nn.Module:
    """The net with fitting batch norms, then each widened channel scaled down by up to `spread`, undone by the next layer.

    With `spread` 1 nothing is scaled. No ReLU6 clips anything: channels are scaled down only, from half of what is usual.
    """
    torch.manual_seed(0)
    net = recalibrate_batchnorm(DepthwiseNet(), CALIBRATION)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.mul_(0.5)
    net = recalibrate_batchnorm(net, CALIBRATION)
    for block in net.blocks:
        for first, second in ((block[0], block[1]), (block[1], block[2])):
            factors = spread ** -torch.rand(24, generator=generator)
            with torch.no_grad():
                first[1].weight.mul_(factors)
                first[1].bias.mul_(factors)
                shape = (24, 1, 1, 1) if second[0].groups == 24 else (1, 24, 1, 1)
                second[0].weight.div_(factors.view(shape))
    return net


def data_for() -> MethodData:
    """The samples; there are no labels."""
    none = Samples(take(HELD_OUT, slice(0, 0)), torch.empty(0, dtype=torch.long))
    return MethodData(
        calibration=CALIBRATION,
        train=none,
        validation=none,
        objective=classification("abcde"),
        metric="accuracy",
        collect=lambda model: collect_statistics(model, CALIBRATION, 32),
        example=EXAMPLE,
        seed=3,
    )


def logit_sqnr_db(source: nn.Module, made: Quantized) -> float:
    """How far the quantized logits are from the source's, on samples that no method saw."""
    with torch.no_grad():
        return sqnr_db(source(**HELD_OUT), simulate(made.model, made.plan, made.grids)(**HELD_OUT))
