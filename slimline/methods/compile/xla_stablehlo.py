"""A PyTorch model as StableHLO with its weights inside: torch.export, then torchax, then jax.export."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverloadPacket

from slimline.data.batch import Batch, joined, take
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.compile.xla_settings import narrow, settle_xla
from slimline.methods.exported import exported

UNEXPORTABLE = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, NotImplementedError)


def to_stablehlo(model: nn.Module, example: Batch, signature: Signature) -> Any:
    """The model in evaluation mode as a jax.export.Exported of its inputs [batch, …] in the signature's order, batch being free.

    It gives its outputs in order. JAX has 64-bit numbers switched off, so int64 and float64 become int32 and float32.

    Its weights are constants of the program, and no file name or line number of this machine is in it: equal models give
    equal bytes. torchax takes over torch.compile in this process ("PyTorch is not linked with support for jax devices").
    https://docs.jax.dev/en/latest/export/export.html

    Raises:
        StageError: an operation of the model has no XLA counterpart here, or torch.export cannot follow the model.
    """
    settle_xla(threads=1)
    import jax
    import jax.export

    bridge = import_torchax()
    ordered = {name: example[name] for name in signature.names}
    few = take(joined([ordered, ordered]), slice(0, 2))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch copies tree specs of its own by a way that it deprecates
            program = exported(model, few)
            _, states, function = bridge.exported_program_to_jax(program, export_raw=True)
        constants = [_as_jax(state) for state in states]
        batch = jax.export.symbolic_shape("batch")
        shapes = [
            jax.ShapeDtypeStruct((*batch, *value.shape[1:]), narrow(str(value.dtype).removeprefix("torch."))) for value in few.values()
        ]
        with _without_locations():
            return jax.export.export(jax.jit(lambda *inputs: tuple(function(constants, inputs))), platforms=["cpu"])(*shapes)
    except Impossible as error:
        raise Impossible(f"compile: the model cannot be exported to StableHLO: {error}") from error
    except UNEXPORTABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise Impossible(f"compile: the model cannot be exported to StableHLO: {type(error).__name__}: {reason}") from error


def import_torchax() -> ModuleType:
    """torchax.export, with its operations registered.

    torchax 0.0.13 names 22 overloads of operators on named tensors, which PyTorch 2.13 no longer has, and does not import
    for want of them. They are never called: while it is imported they are None, which its tables pass over.
    """
    with _missing_overloads_are_none():
        bridge = importlib.import_module("torchax.export")
        importlib.import_module("torchax.ops.jaten")
    operations = importlib.import_module("torchax.ops.ops_registry")
    if torch.ops.aten.sym_size.int not in operations.all_aten_ops:
        operations.register_torch_dispatch_op(torch.ops.aten.sym_size.int, lambda x, dim: x.shape[dim])
    return bridge


@contextlib.contextmanager
def _missing_overloads_are_none() -> Iterator[None]:
    original = OpOverloadPacket.__getattr__

    def lenient(packet: Any, name: str) -> Any:
        try:
            return original(packet, name)
        except AttributeError:
            if "dimname" in name.lower() or "names" in name:
                return None
            raise

    OpOverloadPacket.__getattr__ = lenient  # type: ignore[method-assign]
    try:
        yield
    finally:
        OpOverloadPacket.__getattr__ = original  # type: ignore[method-assign]


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """JAX writes the Python stack of every operation into a program, paths of this machine included; here it does not."""
    import jax

    limit = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def _as_jax(state: Tensor) -> Any:
    import jax.numpy as jnp

    if state.dtype == torch.bfloat16:
        return jnp.asarray(state.float().numpy(), jnp.bfloat16)
    return jnp.asarray(state.numpy())
