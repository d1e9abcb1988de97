"""XLA: model.stablehlo, compiled by JAX for this CPU, one program a batch size. Torch is not imported."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.signature import Signature
from slimline.errors import ArtifactError, InputError
from slimline.loaders import Array, Infer, Outputs, by_name, joined, pieces
from slimline.methods.compile.xla_settings import narrow, settle_xla

RUNTIME, GRAPH = f"jax {jax.__version__}", "model.stablehlo"
CALLED = re.compile(r"stablehlo\.custom_call @\"?([\w.$-]+)")
HARMLESS = {"shape_assertion"}
LONGEST_CONSTANT = 16


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Batches of the manifest's sizes are compiled as they are, here and now. Others are cut into pieces of the largest size;
    the rest is padded to the next power of two, so that no more than a handful of programs is ever compiled.

    Raises:
        ArtifactError: the program calls functions that are no part of StableHLO.
    """
    settle_xla(threads)
    exported = jax.export.deserialize(bytearray((folder / GRAPH).read_bytes()))
    program = functools.cache(functools.partial(_compiled, folder, exported, manifest.signature))
    sizes = tuple(int(size) for size in manifest.execution["batch_sizes"].split(","))
    for size in sizes:
        program(size)

    def infer(arrays: Mapping[str, Array]) -> Outputs:
        narrowed = {name: _narrowed(name, values) for name, values in arrays.items()}
        return by_name(joined([run(list(piece.values())) for piece in pieces(narrowed, max(sizes))]), manifest.signature)

    def run(piece: list[Array]) -> list[Array]:
        size = padded_size(len(piece[0]), sizes)
        return _run(program(size), piece, size)

    return infer, {"threads": str(threads), **manifest.execution}


def padded_size(count: int, sizes: tuple[int, ...]) -> int:
    """The batch size that `count` samples run at: `count` if it is one of `sizes`, else the next power of two, at most the largest."""
    return count if count in sizes else min(1 << (count - 1).bit_length(), max(sizes))


def _run(program: Any, piece: list[Array], size: int) -> list[Array]:
    """The outputs of up to `size` samples, by a program for exactly `size`; the places left are filled with the first sample."""
    count = len(piece[0])
    filled = [np.concatenate([values, np.repeat(values[:1], size - count, axis=0)]) if count < size else values for values in piece]
    return [np.asarray(found)[:count] for found in program(*filled)]


def _narrowed(name: str, values: Array) -> Array:
    """As JAX holds it.

    Raises:
        InputError: a whole number does not fit.
    """
    found: Array = values.astype(narrow(str(values.dtype)), copy=False)
    if found.dtype.kind in "iu" and found.dtype != values.dtype and not np.array_equal(found, values):
        raise InputError(f"input {name!r} holds whole numbers beyond 32 bits, which XLA does not take here; use another target")
    return found


def _compiled(folder: Path, exported: Any, signature: Signature, size: int) -> Any:
    """The program for one batch size; what it calls is looked at before anything runs."""
    shapes = [jax.ShapeDtypeStruct((size, *one.shape), narrow(one.dtype)) for one in signature.inputs]
    lowered = jax.jit(exported.call).lower(*shapes)
    text = lowered.compiler_ir("stablehlo").operation.get_asm(large_elements_limit=LONGEST_CONSTANT)
    if called := sorted(set(CALLED.findall(text)) - HARMLESS):
        raise ArtifactError(f"{folder}: {GRAPH} calls {', '.join(called)}, which is no part of StableHLO; do not trust this file")
    return lowered.compile()
