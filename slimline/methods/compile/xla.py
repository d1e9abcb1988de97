"""Compile for XLA: one StableHLO program with the weights inside, which JAX compiles for the CPU that it finds."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.compile.lowered import Lowered, arithmetic, require_fixed
from slimline.methods.compile.qdq import explicit
from slimline.methods.compile.xla_stablehlo import to_stablehlo
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import Plan, layers_of_kind, smallest_precision

MODEL = "model.stablehlo"
EXPORTED = re.compile(r"\bstablehlo\.(\w+)")
CONSTANT = re.compile(r"stablehlo\.constant .* : tensor<((?:\d+x)+)(\w+)>")
RUNNING = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = \S+ ([\w-]+)\((?:.*kind=k(\w+))?", re.MULTILINE)
NUMBER = re.compile(r"\.\d+$")
DEFINED = re.compile(r"%([\w.-]+) = (f32|bf16|f16)\[")
PRODUCT = re.compile(r" (?:convolution|dot)\(%([\w.-]+), %([\w.-]+)\)")
PASSIVE = ("constant", "parameter", "tuple", "get-tuple-element", "bitcast")
LONGEST_CONSTANT = 16
BYTES = {"f32": 4, "bf16": 2, "f16": 2}
COMPILES = "The file is a program, not machine code: XLA compiles it for each batch size when it is loaded, about a second each."
UNPACKED = "On this CPU XLA computes the 16-bit layers in float32; only their weights are smaller."
TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def xla(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,  # noqa: ARG001 (uniform signature)
    example: Batch,
    calibration: Batch,  # noqa: ARG001
    signature: Signature,
    batch_sizes: tuple[int, ...] = (1,),
) -> Lowered:
    """Write model.stablehlo into `folder`: what jax.export.serialize gives, any batch size, float32 or the plan's 16-bit layers.

    The file is a flatbuffer around StableHLO in MLIR bytecode: no pickle. Reading it runs nothing; running it could call any
    function that jaxlib has registered, so the loader refuses a program that calls one (jax/_src/export/serialization.py).
    Batch norms are folded. https://openxla.org/stablehlo

    Raises:
        StageError: the plan has integer layers, for which XLA has no CPU kernels, or the model cannot be exported.
    """
    if plan is not None and (integers := layers_of_kind(plan, "static", "dynamic", "weights")):
        raise Impossible(f"compile: XLA has no int8 kernels on the CPU, and {integers[0]!r} is to be int8 or int4; use another target")
    require_fixed("XLA compiles one program for each size", signature)
    plain = to_stablehlo(fold_batchnorm(model, example), example, signature)
    exported = plain if plan is None else to_stablehlo(explicit(model, plan, example=example), example, signature)
    (folder / MODEL).write_bytes(exported.serialize())
    lowered = _lowered(exported, max(batch_sizes))
    before, running = _text(lowered), lowered.compile().as_text()
    return Lowered(
        precision="float32" if plan is None else smallest_precision(plan),
        computes=_computes(running),
        execution={"batch_sizes": ",".join(str(size) for size in batch_sizes)},
        layers=() if plan is None else layers_of_kind(plan, "half"),
        weight_bytes=_constant_bytes(before),
        float32_weight_bytes=_constant_bytes(_text(_lowered(plain, 1))),
        float32_bytes=len(plain.serialize()),
        operations_before=_counted(EXPORTED.findall(before)),
        operations_after=_counted(_running(running)),
        notes=(COMPILES, *((UNPACKED,) if plan is not None and _computes(running) == "float32" else ())),
    )


def _lowered(exported: Any, batch_size: int) -> Any:
    """The program for one batch size, not yet compiled."""
    import jax

    return jax.jit(exported.call).lower(*(jax.ShapeDtypeStruct((batch_size, *one.shape[1:]), one.dtype) for one in exported.in_avals))


def _text(lowered: Any) -> str:
    """A program as StableHLO text, long constants left out."""
    text: str = lowered.compiler_ir("stablehlo").operation.get_asm(large_elements_limit=LONGEST_CONSTANT)
    return text


def _constant_bytes(text: str) -> int:
    """What the weights take: every constant of the program but single numbers and shapes."""
    found = [(shape.split("x"), kind) for shape, kind in CONSTANT.findall(text)]
    return sum(math.prod(int(size) for size in shape if size) * BYTES[kind] for shape, kind in found if kind in BYTES)


def _computes(text: str) -> str:
    """The types that convolutions and matrix products read in the compiled program."""
    types = dict(DEFINED.findall(text))
    return arithmetic(TYPES[types[name]] for names in PRODUCT.findall(text) for name in names)


def _running(text: str) -> Iterator[str]:
    """The operations of the compiled program's entry, its fusions by name and kind; what only holds or passes values is left out."""
    for name, operation, fused in RUNNING.findall(text[text.index("ENTRY ") :]):
        if operation not in PASSIVE:
            yield f"{operation} {NUMBER.sub('', name)} ({fused})" if fused else operation


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
