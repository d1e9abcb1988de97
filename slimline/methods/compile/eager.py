"""The plain reference: weights as safetensors, run by PyTorch itself."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.artifact.weights import WEIGHTS, write_weights
from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.compile.lowered import Lowered
from slimline.methods.quantize.plan import Plan, layers_of_kind, planned, smallest_precision


def eager(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,  # noqa: ARG001 (uniform signature)
    example: Batch,  # noqa: ARG001
    calibration: Batch,  # noqa: ARG001
    signature: Signature,  # noqa: ARG001
    batch_sizes: tuple[int, ...] = (),  # noqa: ARG001
) -> Lowered:
    """Write weights.safetensors into `folder`, in the plan's 16-bit type where it is `half`, those too that no plan follows.

    Raises:
        StageError: the plan is int8, for which eager PyTorch has no kernels, or mixes 16-bit and float32 layers.
    """
    if plan is not None and layers_of_kind(plan, "static", "dynamic", "weights"):
        raise Impossible("compile: eager PyTorch has no int8 kernels; deploy this variant on onnxruntime or openvino")
    if plan is not None and (mixed := _kept_float(model, plan)):
        raise Impossible(f"compile: eager PyTorch runs a model in one type, and the plan keeps {mixed[0]!r} in float32; use another target")
    dtype = torch.float32 if plan is None else getattr(torch, smallest_precision(plan))
    cast = copy.deepcopy(model).eval().to(dtype)
    write_weights(folder / WEIGHTS, cast.state_dict())
    name = str(dtype).removeprefix("torch.")
    size_bytes = (folder / WEIGHTS).stat().st_size
    float32_bytes = size_bytes + (0 if plan is None else _saved(model))
    layers = () if plan is None else planned(plan, name)
    return Lowered(name, name, layers=layers, weight_bytes=size_bytes, float32_weight_bytes=float32_bytes, float32_bytes=float32_bytes)


def _kept_float(model: nn.Module, plan: Plan) -> list[str]:
    """The layers that have to stay in float32: of `half` those with weights beyond its type, of other plans all that they keep so.

    What `half` leaves in float32 beside these is read by something else than its layer (nn.MultiheadAttention reads its projection's
    weight): no graph tells such a weight, but the net is cast as a whole.
    """
    kept = layers_of_kind(plan, "float")
    if plan["method"] != "half":
        return list(kept)
    largest = torch.finfo(getattr(torch, plan["dtype"])).max
    return [name for name in kept if any(float(value.detach().abs().max()) > largest for value in model.get_submodule(name).parameters())]


def _saved(model: nn.Module) -> int:
    """What 16-bit values take less than float32 ones."""
    values: list[Tensor] = [value for value in model.state_dict().values() if value.is_floating_point()]
    return 2 * sum(value.numel() for value in values)
