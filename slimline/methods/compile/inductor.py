"""Compile with AOTInductor: C++ generated from the exported graph, compiled by g++ into one package that needs no source of the model."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch._inductor.exc import InductorError

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch, clone, count, flat, joined, take, tensors
from slimline.data.signature import Signature
from slimline.errors import Impossible, StageError
from slimline.methods.compile.inductor_build import build_settings, open_package, reproducible, write_package
from slimline.methods.compile.inductor_code import Generated, read_generated, stored_layers
from slimline.methods.compile.instruction_sets import instruction_sets
from slimline.methods.compile.lowered import Lowered, arithmetic
from slimline.methods.compile.parity import MIN_SQNR_DB
from slimline.methods.compile.qdq import explicit, sixteen_bit_net
from slimline.methods.exported import exported
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import Plan, layers_of_kind, planned, smallest_precision
from slimline.methods.quantize.simulate import sqnr_db

MODEL = "model.pt2"
LEAST_CHANNELS = 2
"""With a free batch size Inductor takes the output of an int8 convolution of one channel for contiguous; it is channels-last."""
INT4 = "Inductor stores no weight in fewer than 8 bits; deploy it on onnxruntime or openvino"
STRIDED = "Inductor's int8 kernel takes the output of a strided one-dimensional convolution for longer than it is"
UNFUSED = "Inductor found no int8 kernel for {}: their int8 weights are unpacked in every run and they compute in float32."
UNPACKED = "Layers with weights alone in int8 unpack them in every run and compute in float32."
ESTIMATED = "The package's bytes in float32 are these plus what the weights would take more; it was not compiled to see."
THREADS = "The loops that Inductor generated run in one thread; convolutions and matrix products in as many as the runtime is given."
WAYS_OUT = "name it in keep_float, or deploy on onnxruntime or openvino"
CODE = "The package is machine code for this kind of CPU, and it runs when it is loaded: load it only where you trust who compiled it."


def inductor(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    example: Batch,
    calibration: Batch,
    signature: Signature,
    batch_sizes: tuple[int, ...] = (),  # noqa: ARG001 (one package takes any)
) -> Lowered:
    """Write model.pt2 into `folder`: one package for every batch size, weights frozen in it.

    static and dynamic layers become oneDNN's int8 kernels, with exactly the plan's ranges; `weights` layers hold int8 and unpack it
    in every run; where the plan is 16-bit throughout, the whole model computes in that type, else those layers do.
    https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html

    Raises:
        StageError: g++ is missing, the model cannot be exported or compiled, the plan has int4 layers, or what was compiled
            computes something else than what was exported.
    """
    if plan is not None and [name for each in ("int2", "int3", "int4") for name in planned(plan, each)]:
        raise Impossible(f"compile: {INT4}")
    _require_kernels(model, plan)
    lowering = _prepared(model, plan, grids, example)
    ordered = {name: calibration[name] for name in signature.names}
    samples = take(joined([ordered, ordered, ordered]), slice(0, 3))
    before, generated = _compiled(lowering, samples, signature, folder / MODEL)
    _require_same(lowering, folder / MODEL, samples)
    float32_weight_bytes = generated.weight_bytes if plan is None else _float32_bytes(model, example)
    int8_layers = frozenset[str]() if plan is None else generated.int8_layers(layers_of_kind(plan, "static", "dynamic"))
    return Lowered(
        precision="float32" if plan is None else smallest_precision(plan),
        computes=_computes(plan, int8_layers),
        execution={"instruction_sets": " ".join(instruction_sets())},
        layers=() if plan is None else _stored(model, plan, generated),
        weight_bytes=generated.weight_bytes,
        float32_weight_bytes=float32_weight_bytes,
        float32_bytes=(folder / MODEL).stat().st_size + max(float32_weight_bytes - generated.weight_bytes, 0),
        operations_before=before,
        operations_after=generated.operations,
        notes=tuple(_notes(plan, int8_layers)),
    )


def _require_kernels(model: nn.Module, plan: Plan | None) -> None:
    """Hold int8 layers to those that Inductor has right kernels for."""
    for name in () if plan is None else layers_of_kind(plan, "static"):
        if isinstance(layer := model.get_submodule(name), nn.Conv1d) and layer.stride != (1,):
            raise Impossible(f"compile: {name!r}, Conv1d with stride {layer.stride[0]}, is to be int8: {STRIDED}; {WAYS_OUT}")


def _prepared(model: nn.Module, plan: Plan | None, grids: Mapping[str, Tensor], example: Batch) -> nn.Module:
    """What is exported: the plan written out, or the whole model in the one 16-bit type that the plan has."""
    if plan is None:
        return copy.deepcopy(model).eval().requires_grad_(False)
    types = {entry["precision"] for entry in plan["layers"].values()}
    if len(types) == 1 and layers_of_kind(plan, "half"):
        return sixteen_bit_net(fold_batchnorm(model, example), getattr(torch, types.pop()))
    return explicit(model, plan, grids=grids, example=example, least_channels=LEAST_CHANNELS)


def _compiled(lowering: nn.Module, samples: Batch, signature: Signature, package: Path) -> tuple[dict[str, int], Generated]:
    """Write the package; returns the operations as exported, and what was generated.

    Raises:
        StageError: torch.export or Inductor cannot take the model, or g++ failed.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), reproducible() as place:
            warnings.simplefilter("ignore")
            program = exported(lowering, take(samples, slice(0, 2)), signature=signature)
            built = place / MODEL
            torch._inductor.aoti_compile_and_package(program, package_path=str(built), inductor_configs=build_settings(place / "g++"))
            return _operations(program.graph), read_generated(write_package(built, package))
    except (Impossible, InductorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise Impossible(f"compile: Inductor cannot compile the model: {' '.join(str(error).split())[:300]}") from error


def _require_same(lowering: nn.Module, package: Path, samples: Batch) -> None:
    """A free batch size has given wrong results in silence (see LEAST_CHANNELS): one and three samples have to come out alike."""
    run = open_package(package)
    for batch in (clone(take(samples, slice(0, 1))), samples):
        with torch.no_grad():
            expected, found = tensors(lowering(**batch)), run(list(batch.values()))
        if not sqnr_db(flat(expected), flat(dict(zip(expected, found, strict=True)))) >= MIN_SQNR_DB:
            said = f"compile: inductor computes something else than was exported, at a batch of {count(batch)}; use another target"
            raise StageError(said)


def _operations(graph: fx.Graph) -> dict[str, int]:
    """Operators as exported, counted."""
    targets = [node.target for node in graph.nodes if node.op == "call_function"]
    return dict(sorted(Counter(str(target).removesuffix(".default") for target in targets).items()))


def _computes(plan: Plan | None, int8_layers: Set[str]) -> str:
    """The arithmetic of the layers: that of the kernels which Inductor chose."""
    if plan is None:
        return "float32"
    halves = {plan["layers"][name]["precision"] for name in layers_of_kind(plan, "half")}
    others = set(layers_of_kind(plan, "static", "dynamic", "weights", "float")) - int8_layers
    return arithmetic([*(["int8"] if int8_layers else []), *halves, *(["float32"] if others else [])])


def _stored(model: nn.Module, plan: Plan, generated: Generated) -> tuple[str, ...]:
    wanted = {name: entry["precision"] for name, entry in plan["layers"].items() if entry["precision"] != "float32"}
    sizes = {
        name: tuple(value.numel() for key, value in model.get_submodule(name).named_parameters() if "weight" in key) for name in wanted
    }
    return stored_layers(generated.constants, {name: (precision, sizes[name]) for name, precision in wanted.items()})


def _float32_bytes(model: nn.Module, example: Batch) -> int:
    """What the weights and biases take in float32, batch norms folded."""
    return sum(4 * parameter.numel() for parameter in fold_batchnorm(model, example).parameters())


def _notes(plan: Plan | None, int8_layers: Set[str]) -> Iterator[str]:
    planned_int8 = () if plan is None else layers_of_kind(plan, "static", "dynamic")
    if unfused := [name for name in planned_int8 if name not in int8_layers]:
        yield UNFUSED.format(", ".join(unfused))
    if plan is not None and layers_of_kind(plan, "weights"):
        yield UNPACKED
    if plan is not None:
        yield ESTIMATED
    yield THREADS
    yield CODE
