"""nn.EmbeddingBag for ONNX: rows are looked up and then reduced. PyTorch's own export writes a loop over bags that no runtime takes."""

import copy

from torch import Tensor, nn
from torch.nn import functional


class PlainBag(nn.Module):
    """What an nn.EmbeddingBag computes of bags of one length, by operations that every graph has; other calls reach the layer itself."""

    def __init__(self, bag: nn.EmbeddingBag) -> None:
        super().__init__()
        self.bag = bag

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Rows [N, T], and weights [N, T] of a sum, -> [N, D]."""
        bag = self.bag
        if input.dim() != 2 or offsets is not None or bag.max_norm is not None:
            found: Tensor = bag(input, offsets, per_sample_weights)
            return found
        rows = functional.embedding(input, bag.weight)
        counts = (input != (-1 if bag.padding_idx is None else bag.padding_idx))[..., None]
        if bag.mode == "max":
            return rows.masked_fill(~counts, float("-inf")).amax(1).masked_fill(~counts.any(1), 0.0)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights[..., None]
        total = (rows * counts).sum(1)
        return total if bag.mode == "sum" else total / counts.sum(1).clamp(min=1)


def with_plain_bags(model: nn.Module) -> nn.Module:
    """The model, or a copy of it whose bags are plain ones where it has any."""
    bags = [name for name, layer in model.named_modules() if isinstance(layer, nn.EmbeddingBag)]
    if not bags:
        return model
    if isinstance(model, nn.EmbeddingBag):
        return PlainBag(copy.deepcopy(model))
    plain = copy.deepcopy(model)
    for name in bags:
        plain.set_submodule(name, PlainBag(plain.get_submodule(name)))  # type: ignore[arg-type]
    return plain
