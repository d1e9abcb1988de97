"""Compile to TorchScript: the model traced and frozen into one file that torch.jit.load, or libtorch in C++, runs without its source."""

import copy
import io
import re
import sysconfig
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch, count, flat, joined, take
from slimline.data.signature import Signature, shortened
from slimline.errors import Impossible
from slimline.methods.compile.lowered import Lowered, arithmetic
from slimline.methods.compile.qdq import explicit, sixteen_bit_net
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import Plan, layers_of_kind, planned, smallest_precision
from slimline.training.fit import predict

MODEL = "model.pt"
CONSTANT = "torch.tensor results are registered as constants in the trace"
"""A warning that a plain constant of a forward gives too; what is wrong with another the check against the source finds."""
NO_INTEGERS = "TorchScript packs int8 weights anew in every call and runs slower than float32; deploy it on inductor or onnxruntime"
DEPRECATED = "TorchScript is deprecated upstream (torch 2.13 says so whenever it is used): take it only where a program already expects it."
MANGLED = re.compile(rb"\.___torch_mangle_\d+")
LEFT_OUT = (".debug_pkl", "serialization_id")
"""Stack traces of this machine, and an identity made at random."""
TRIED, TOLERANCE = (1, 3, 8), 1e-4
"""Samples that a trace is tried with, and by how much of the largest output it may be off."""


def torchscript(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    example: Batch,
    calibration: Batch,
    signature: Signature,
    batch_sizes: tuple[int, ...] = (),  # noqa: ARG001 (the graph takes any)
) -> Lowered:
    """Write model.pt into `folder`: batch norms folded, weights frozen, in float32 or with the plan's 16-bit layers in that type.

    https://docs.pytorch.org/docs/stable/jit.html; freezing: torch.jit.freeze.

    Raises:
        StageError: the plan has integer layers, or the model cannot be traced.
    """
    if plan is not None and layers_of_kind(plan, "static", "dynamic", "weights"):
        raise Impossible(f"compile: {NO_INTEGERS}")
    ordered = {name: calibration[name] for name in signature.names}
    sample, other = take(joined([ordered, ordered]), slice(0, 2)), other_sizes(ordered, signature)
    traced = _traced(copy.deepcopy(model).eval() if plan is None else _prepared(model, plan, grids, example), sample, other)
    frozen = _frozen(traced)
    weight_bytes = write_script(frozen, folder / MODEL)
    float32_bytes, float32_weight_bytes = _in_float32(model, sample, other) if plan else ((folder / MODEL).stat().st_size, weight_bytes)
    precision = "float32" if plan is None else smallest_precision(plan)
    return Lowered(
        precision=precision,
        computes=arithmetic([] if plan is None else [entry["precision"] for entry in plan["layers"].values()]),
        layers=() if plan is None else tuple(name for kind in ("float16", "bfloat16") for name in planned(plan, kind)),
        weight_bytes=weight_bytes,
        float32_weight_bytes=float32_weight_bytes,
        float32_bytes=float32_bytes,
        operations_before=_operations(traced),
        operations_after=_operations(frozen),
        notes=(DEPRECATED,),
    )


def _in_float32(model: nn.Module, sample: Batch, other: Sequence[Batch]) -> tuple[int, int]:
    """The same model's file without a plan, and its constants, in bytes."""
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        path = Path(place) / MODEL
        constant_bytes = write_script(_frozen(_traced(copy.deepcopy(model).eval(), sample, other)), path)
        return path.stat().st_size, constant_bytes


def _prepared(model: nn.Module, plan: Plan, grids: Mapping[str, Tensor], example: Batch) -> nn.Module:
    """The whole model in the one 16-bit type that the plan has, else with each 16-bit layer in its own."""
    types = {entry["precision"] for entry in plan["layers"].values()}
    if len(types) == 1 and "float32" not in types:
        return sixteen_bit_net(fold_batchnorm(model, example), getattr(torch, types.pop()))
    return explicit(model, plan, grids=grids, example=example)


def other_sizes(samples: Batch, signature: Signature) -> tuple[Batch, ...]:
    """Some of the samples, so many as in TRIED, whole and with each varying axis cut to about half."""
    lengths = (samples, shortened(samples, signature))
    return tuple(take(batch, slice(0, size)) for batch in lengths for size in TRIED if size <= count(samples))


def _traced(model: nn.Module, sample: Batch, other: Sequence[Batch]) -> Any:
    """A trace that is the model for samples of other sizes too.

    The tracer warns where Python looks at a size or a value. An installed package (transformers checks sizes as it runs) is tried on
    `other` then; code of one's own is not taken, since it may look at values that no sample here has.

    Raises:
        StageError: the model does something else for other inputs, or cannot be traced at all.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", TracerWarning)
            trace: Callable[..., Any] = torch.jit.trace  # has no annotations
            traced = trace(model.requires_grad_(False), example_kwarg_inputs=dict(sample), check_trace=False, strict=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Impossible(f"compile: the model cannot be traced to TorchScript: {' '.join(str(error).split())[:300]}") from error
    warned = [warning for warning in told if issubclass(warning.category, TracerWarning) and not str(warning.message).startswith(CONSTANT)]
    if warned and not (all(map(_is_installed, warned)) and _answers_alike(traced, model, other)):
        raise Impossible(f"compile: the model cannot be traced to TorchScript: {' '.join(str(warned[0].message).split())[:300]}")
    return traced


def _is_installed(warning: warnings.WarningMessage) -> bool:
    """Whether a warning is of the code of an installed package."""
    return any(Path(warning.filename).is_relative_to(place) for place in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def _answers_alike(traced: Any, model: nn.Module, other: Sequence[Batch]) -> bool:
    """Whether a trace gives what the model gives, for each of these batches."""
    for batch in other:
        try:
            found, wanted = flat(predict(traced, batch)), flat(predict(model, batch))
        except RuntimeError:
            return False
        if not torch.allclose(found, wanted, rtol=0, atol=TOLERANCE * max(1e-6, float(wanted.abs().max()))):
            return False
    return True


def _frozen(traced: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.freeze(traced)


def write_script(frozen: Any, path: Path) -> int:
    """Write a frozen module, compressed, without what differs from one time to the next; returns the bytes of its constants."""
    buffer, constant_bytes = io.BytesIO(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(frozen, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as small:
        for entry in [entry for entry in source.namelist() if not entry.endswith(LEFT_OUT)]:
            content, parts = source.read(entry), entry.split("/")
            if parts[1] == "constants":
                constant_bytes += len(content)
            elif parts[1] in ("code", "data.pkl"):
                content = MANGLED.sub(b"", content)
            name = re.sub(r"/___torch_mangle_\d+\.py$", ".py", "/".join([path.stem, *parts[1:]]))
            small.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
    return constant_bytes


def _operations(module: Any) -> dict[str, int]:
    """Kinds of the graph's nodes, submodules inlined, counted; constants and attributes are no operations."""
    kinds = Counter(node.kind() for node in module.inlined_graph.nodes())
    return {name: count for name, count in sorted(kinds.items()) if not name.startswith("prim::")}
