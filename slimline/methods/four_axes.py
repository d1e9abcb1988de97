"""Scaled dot-product attention with the four axes that PyTorch's exporter to ONNX takes: samples, heads, steps and width."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

AXES = 4
NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class FourAxes(TorchFunctionMode):
    """While it is entered, attention over three axes gets a head, and axes before the heads are made one; the results are the same."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """As the call itself."""
        given = dict(kwargs or {})
        if func is not scaled_dot_product_attention:
            return func(*args, **given)
        given = dict(zip(NAMES, args, strict=False)) | given
        three, mask = {name: given[name] for name in NAMES[:3]}, given.get("attn_mask")
        axes, lead = {value.dim() for value in three.values()}, given["query"].shape[:-3]
        if axes == {AXES - 1}:
            found: Tensor = func(**given | {name: value.unsqueeze(1) for name, value in three.items()} | _with_a_head(mask))
            return found.squeeze(1)
        is_alike = all(value.shape[:-3] == lead for value in three.values())
        if min(axes) > AXES and is_alike and (mask is None or mask.dim() == 2):
            found = func(**given | {name: value.flatten(0, -AXES) for name, value in three.items()})
            return found.reshape(*lead, *found.shape[1:])
        return func(**given)


def _with_a_head(mask: Tensor | None) -> dict[str, Tensor]:
    return {"attn_mask": mask.unsqueeze(1)} if mask is not None and mask.dim() == AXES - 1 else {}
