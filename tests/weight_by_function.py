"""A net that reads a layer's weight beside the layer: an autoencoder whose decoder is its encoder's weight turned round."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Autoencoder(nn.Module):
    """[N, inputs] -> [N, inputs + classes]: what the code gives back, and a head on it. `inner` is a layer like any other."""

    def __init__(self, inputs: int = 48, code: int = 64, classes: int = 3) -> None:
        super().__init__()
        self.encoder, self.inner, self.head = nn.Linear(inputs, code), nn.Linear(code, code), nn.Linear(code, classes)
        with torch.no_grad():
            for layer in (self.encoder, self.inner):
                layer.weight.copy_(torch.randn(code, 4) @ torch.randn(4, layer.in_features) / 20)

    def forward(self, x: Tensor) -> Tensor:
        """The code is `inner`'s output."""
        code = torch.relu(self.inner(torch.relu(self.encoder(x))))
        return torch.cat([functional.linear(code, self.encoder.weight.t()), self.head(code)], dim=1)
