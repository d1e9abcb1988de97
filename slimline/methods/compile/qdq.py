"""A plan written into the model itself: each planned layer says with explicit operations how its weight and inputs are rounded.

What a compiler for PyTorch graphs (Inductor, ExecuTorch's XNNPACK) fuses into int8 kernels is the pattern dequantize(quantize(x)) before
a layer with a dequantized int8 weight. torchao's convert_pt2e writes it with ranges of its own; here they are exactly the plan's.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # it registers torch.ops.quantized_decomposed
from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch, Tensors
from slimline.errors import Impossible
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import INTEGERS, LAYER_TYPES, Layer, Plan, kind
from slimline.methods.quantize.weights import Grid, derived_grid, levels, stored_grid

OPS = torch.ops.quantized_decomposed
LOWEST, HIGHEST = 0, 255
SIGNED = (-128, 127)
EPSILON = float(torch.finfo(torch.float32).eps)
WEIGHT, SCALE = "weight_int8", "weight_scale"
"""The buffers of an integer layer, after its name."""
MIDDLE = 128


def explicit(model: nn.Module, plan: Plan, *, grids: Mapping[str, Tensor] = NO_GRIDS, example: Batch, least_channels: int = 1) -> nn.Module:
    """A copy of `model` in evaluation mode, batch norms folded, whose planned layers are of the classes below.

    It computes what `simulate(model, plan, grids)` does, up to rounding in float32. A static
    convolution with fewer input channels than `least_channels` is given zeros for the missing ones, which changes no result.

    Raises:
        StageError: torch.export cannot follow the model, or a planned layer is neither Linear nor a convolution.
    """
    twin = fold_batchnorm(model, example) if _may_fold(plan) else copy.deepcopy(model).eval()
    twin.requires_grad_(False)
    for name, entry in plan["layers"].items():
        layer: Any = twin.get_submodule(name)
        if kind(entry) != "float" and not isinstance(layer, (*LAYER_TYPES, nn.Embedding)):
            raise Impossible(
                f"compile: {name!r} is {type(layer).__name__}, which this target has no small kernels for; put it in keep_float"
            )
        if kind(entry) != "float":
            _replace(twin, layer, _rewritten(layer, entry, stored_grid(grids, name, entry), least_channels).eval())
    return twin


def _may_fold(plan: Plan) -> bool:
    """Folding scales each output channel; a grid that is derived from each channel follows, any other grid would not."""
    integers = [entry for entry in plan["layers"].values() if entry["precision"] in INTEGERS]
    return all(entry["granularity"] == "per-channel" and not entry["stored_grid"] for entry in integers)


class Rewritten(nn.Module):
    """What stands in a layer's place, and still answers what a net asks of it: its sizes, and the type of its weight."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        constants: Iterable[str] = layer.__constants__  # type: ignore[assignment]
        for name in constants:
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))


class IntegerWeight(Rewritten):
    """A Linear or convolution with an integer weight that is dequantized, one scale an output channel or group."""

    bias: Tensor | None
    weight_shift: Tensor | None

    def __init__(self, layer: Layer, entry: Mapping[str, Any], grid: Grid | None) -> None:
        super().__init__(layer)
        weight = layer.weight.detach()
        self.shape = tuple(weight.shape)
        scale, zero_point = grid or derived_grid(weight, entry)
        whole = levels(weight, entry, grid)
        shift = 0 if zero_point is None else MIDDLE
        points = torch.zeros_like(scale) if zero_point is None else zero_point - MIDDLE
        self.grouped = scale.shape[1] > 1
        rows = (scale.numel(), -1) if self.grouped else self.shape
        self.register_buffer(WEIGHT, (whole.to(torch.int16) - shift).to(torch.int8).reshape(rows).contiguous())
        self.register_buffer(SCALE, scale.flatten().clone())
        self.register_buffer("weight_zero_point", points.flatten().round().to(torch.int64))
        fraction = ((points.round() - points) * scale).flatten()
        self.register_buffer("weight_shift", fraction if bool(fraction.any()) else None)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.computes = _computation(layer)

    @property
    def weight(self) -> Tensor:
        """The dequantized weight, of the layer's shape."""
        return self.dequantized()[:, : self.shape[1]]

    def dequantized(self) -> Tensor:
        """The weight as it is computed with; the operation takes whole zero points, a fraction is added after it."""
        scale, points = self.get_buffer(SCALE), self.get_buffer("weight_zero_point")
        found: Tensor = OPS.dequantize_per_channel.default(self.get_buffer(WEIGHT), scale, points, 0, *SIGNED, torch.int8)
        if self.weight_shift is not None:
            found = found + self.weight_shift.reshape(-1, *[1] * (found.dim() - 1))
        return found.reshape(self.shape) if self.grouped else found

    def forward(self, input: Tensor) -> Tensor:
        """[N, …] -> what the layer makes of it."""
        return self.computes(input, self.dequantized(), self.bias)


class StaticInt8(IntegerWeight):
    """Inputs rounded to 256 levels over a fixed range as well."""

    def __init__(self, layer: Layer, entry: Mapping[str, Any], grid: Grid | None, least_channels: int) -> None:
        super().__init__(layer, entry, grid)
        low, high = entry["input_range"]
        self.scale = (high - low) / HIGHEST
        self.zero_point = min(max(round(-low / self.scale), LOWEST), HIGHEST)
        is_plain = not isinstance(layer, nn.Linear) and layer.groups == 1 and not self.grouped
        self.missing_channels = max(least_channels - self.shape[1], 0) if is_plain else 0
        if self.missing_channels:
            empty = torch.zeros(self.shape[0], self.missing_channels, *self.shape[2:], dtype=torch.int8)
            self.register_buffer(WEIGHT, torch.cat([self.get_buffer(WEIGHT), empty], dim=1))

    def forward(self, input: Tensor) -> Tensor:
        """[N, …] -> what the layer makes of the rounded input."""
        if self.missing_channels:
            input = nn.functional.pad(input, (0, 0) * (input.dim() - 2) + (0, self.missing_channels))
        grid = (self.scale, self.zero_point, LOWEST, HIGHEST, torch.uint8)
        rounded = OPS.dequantize_per_tensor.default(OPS.quantize_per_tensor.default(input, *grid), *grid)
        return self.computes(rounded, self.dequantized(), self.bias)


class DynamicInt8(IntegerWeight):
    """Inputs rounded to 256 levels over the range of each batch."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, …] -> what the layer makes of the rounded input."""
        scale, zero_point = OPS.choose_qparams.tensor(input, LOWEST, HIGHEST, EPSILON, torch.uint8)
        grid = (scale, zero_point, LOWEST, HIGHEST, torch.uint8)
        rounded = OPS.dequantize_per_tensor.tensor(OPS.quantize_per_tensor.tensor(input, *grid), *grid)
        return self.computes(rounded, self.dequantized(), self.bias)


class IntegerTable(Rewritten):
    """An embedding whose rows are integers, each with its scale; symmetric, one scale a row."""

    def __init__(self, table: nn.Embedding, entry: Mapping[str, Any], grid: Grid | None) -> None:
        super().__init__(table)
        scale, _ = grid or derived_grid(table.weight, entry)
        self.register_buffer(WEIGHT, levels(table.weight, entry, grid))
        self.register_buffer(SCALE, scale.clone())

    @property
    def weight(self) -> Tensor:
        """All rows, dequantized."""
        return self.get_buffer(WEIGHT).float() * self.get_buffer(SCALE)

    def forward(self, input: Tensor) -> Tensor:
        """Whole numbers […] -> their rows […, values]."""
        look_up = nn.functional.embedding
        return look_up(input, self.get_buffer(WEIGHT)).float() * look_up(input, self.get_buffer(SCALE))


class SixteenBitTable(Rewritten):
    """An embedding whose rows are stored in a 16-bit type."""

    def __init__(self, table: nn.Embedding, dtype: torch.dtype) -> None:
        super().__init__(table)
        self.inner = copy.deepcopy(table).to(dtype)

    @property
    def weight(self) -> Tensor:
        """All rows, float32."""
        return self.inner.weight.float()

    def forward(self, input: Tensor) -> Tensor:
        """Whole numbers […] -> their rows […, values], float32."""
        found: Tensor = self.inner(input)
        return found.float()


class SixteenBit(Rewritten):
    """A layer that computes in a 16-bit type between float32 neighbours."""

    def __init__(self, inner: Layer, dtype: torch.dtype) -> None:
        super().__init__(inner)
        self.inner, self.dtype = copy.deepcopy(inner).to(dtype), dtype

    @property
    def weight(self) -> Tensor:
        """The layer's weight, float32: of the type of what goes in and comes out."""
        return self.inner.weight.float()

    @property
    def bias(self) -> Tensor | None:
        """The layer's bias, float32."""
        return None if self.inner.bias is None else self.inner.bias.float()

    def forward(self, input: Tensor) -> Tensor:
        """float32 [N, …] -> float32 [N, …]."""
        found: Tensor = self.inner(input.to(self.dtype))
        return found.float()


def sixteen_bit_net(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a whole net that computes in a 16-bit type: float inputs are rounded to it, float outputs come out in float32."""
    twin = copy.deepcopy(model).eval().requires_grad_(False).to(dtype)
    base = type(twin)

    def forward(self: nn.Module, *arguments: Tensor, **batch: Tensor) -> Tensors:
        given = [_as_type(value, dtype) for value in arguments]
        found: Tensors = base.forward(self, *given, **{name: _as_type(value, dtype) for name, value in batch.items()})
        if isinstance(found, Tensor):
            return _as_type(found, torch.float32)
        return {name: _as_type(value, torch.float32) for name, value in found.items()}

    forward.__signature__ = inspect.signature(base.forward)  # type: ignore[attr-defined]
    twin.__class__ = type(base.__name__, (base,), {"forward": forward, "__module__": base.__module__, "__qualname__": base.__qualname__})
    return twin


def _as_type(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _rewritten(layer: Layer | nn.Embedding, entry: Mapping[str, Any], grid: Grid | None, least_channels: int) -> nn.Module:
    how = kind(entry)
    if isinstance(layer, nn.Embedding):
        return SixteenBitTable(layer, getattr(torch, entry["precision"])) if how == "half" else IntegerTable(layer, entry, grid)
    if how == "half":
        return SixteenBit(layer, getattr(torch, entry["precision"]))
    if how == "static":
        return StaticInt8(layer, entry, grid, least_channels)
    return (DynamicInt8 if how == "dynamic" else IntegerWeight)(layer, entry, grid)


def _computation(layer: Layer) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The layer's own operation on inputs, weight and bias; padding of any kind is the layer's."""
    if isinstance(layer, nn.Linear):
        return nn.functional.linear
    bare = copy.deepcopy(layer)
    del bare.weight, bare.bias
    return bare._conv_forward


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `old` is, under each of its names."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            model.set_submodule(name, new)
