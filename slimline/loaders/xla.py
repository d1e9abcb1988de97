"""XLA: model.stablehlo, compiled by JAX for this CPU, one program a batch size. Torch is not imported."""

import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from slimline.artifact.compiled import CompiledManifest
from slimline.errors import ArtifactError
from slimline.loaders import Floats, Infer
from slimline.methods.compile.xla_settings import settle_xla

RUNTIME, GRAPH = f"jax {jax.__version__}", "model.stablehlo"
CALLED = re.compile(r"stablehlo\.custom_call @\"?([\w.$-]+)")
HARMLESS = {"shape_assertion"}
LONGEST_CONSTANT = 16


def load(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    """The model as a function, and how it runs.

    Batches of the manifest's sizes are compiled as they are, here and now. Others are cut into pieces of the largest size;
    the rest is padded with zeros to the next power of two, so that no more than a handful of programs is ever compiled.

    Raises:
        ArtifactError: the program calls functions that are no part of StableHLO.
    """
    settle_xla(threads)
    exported = jax.export.deserialize(bytearray((folder / GRAPH).read_bytes()))
    program = functools.cache(functools.partial(_compiled, folder, exported, manifest.input_shape))
    sizes = tuple(int(size) for size in manifest.execution["batch_sizes"].split(","))
    for size in sizes:
        program(size)

    def infer(batch: Floats) -> Floats:
        pieces = [batch[start : start + max(sizes)] for start in range(0, len(batch), max(sizes))]
        logits = [_run(program(padded_size(len(piece), sizes)), piece, padded_size(len(piece), sizes)) for piece in pieces]
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    return infer, {"threads": str(threads), **manifest.execution}


def padded_size(count: int, sizes: tuple[int, ...]) -> int:
    """The batch size that `count` samples run at: `count` if it is one of `sizes`, else the next power of two, at most the largest."""
    return count if count in sizes else min(1 << (count - 1).bit_length(), max(sizes))


def _run(program: Any, piece: Floats, size: int) -> Floats:
    """The logits of up to `size` samples, by a program for exactly `size`."""
    empty = np.zeros((size - len(piece), *piece.shape[1:]), np.float32)
    logits: Floats = np.asarray(program(np.concatenate([piece, empty]) if len(empty) else piece))
    return logits[: len(piece)]


def _compiled(folder: Path, exported: Any, input_shape: tuple[int, ...], size: int) -> Any:
    """The program for one batch size; what it calls is looked at before anything runs."""
    lowered = jax.jit(exported.call).lower(jax.ShapeDtypeStruct((size, *input_shape), np.float32))
    text = lowered.compiler_ir("stablehlo").operation.get_asm(large_elements_limit=LONGEST_CONSTANT)
    if called := sorted(set(CALLED.findall(text)) - HARMLESS):
        raise ArtifactError(f"{folder}: {GRAPH} calls {', '.join(called)}, which is no part of StableHLO; do not trust this file")
    return lowered.compile()
