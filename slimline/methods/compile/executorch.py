"""Compile for ExecuTorch: one .pte program whose operations XNNPACK runs, in float32 or int8."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._export.verifier import SpecViolationError
from torch.export import ExportedProgram

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch, count, joined, take
from slimline.data.signature import Signature
from slimline.errors import Impossible
from slimline.methods.compile.lowered import Lowered, require_fixed
from slimline.methods.compile.qdq import explicit
from slimline.methods.compile.quiet import quiet
from slimline.methods.compile.sliced import sliced
from slimline.methods.compile.xnnpack_graph import computed_types, exported_operations, left_out, running_operations
from slimline.methods.compile.xnnpack_int8 import close_int8_islands
from slimline.methods.exported import exported
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import TABLE, Plan, kind, layers_of_kind, smallest_precision, tables_of_kind, weighted_of_kind

MODEL = "model.pte"
LEAST_BOUND, NNPACK_BATCH = 2, 16
CHATTY = ("torchao", "torch.utils._pytree", "executorch")
UNEXPORTABLE = (
    *(RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError, IndexError, NotImplementedError),
    SpecViolationError,
)
NO_SIXTEEN_BITS = "ExecuTorch's XNNPACK stores convolutions in float32 and has no bfloat16; float16 Linear layers, float32 or int8 it takes"
NO_STORED_WEIGHTS = "ExecuTorch's XNNPACK takes int8 weights only together with int8 inputs"
ROUNDED_OUTPUTS = (
    "XNNPACK's int8 operations write int8: residual sums and the outputs are rounded to 256 levels as well, over the range that the "
    "calibration sample shows (outputs: a quarter wider)."
)
NO_VOLUMES = "ExecuTorch has no kernel for convolutions over three axes"
WAYS_OUT = "name it in keep_float, or deploy on onnxruntime or openvino"


def executorch(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    example: Batch,
    calibration: Batch,
    signature: Signature,
    batch_sizes: tuple[int, ...] = (1, 32),
) -> Lowered:
    """Write model.pte into `folder`: a program for any batch size up to the largest of `batch_sizes`.

    Batch norms are folded. static: the plan's weights and input ranges, and int8 outputs between (see xnnpack_int8.py).
    dynamic: Linear layers whose inputs XNNPACK ranges row by row while running. half: float16 Linear layers.
    A .pte file is a flatbuffer: data and instructions for kernels that the runtime has, no code and no pickle.
    https://docs.pytorch.org/executorch/stable/backends/xnnpack/xnnpack-overview.html

    Raises:
        StageError: the plan, or the net, holds what there are no kernels for, or the model cannot be exported.
    """
    _require_kernels(plan)
    _require_flat(model)
    require_fixed("ExecuTorch plans its memory for one size", signature)
    bound = largest_batch(batch_sizes)
    first = take({name: example[name] for name in signature.names}, slice(0, 1))
    whole = joined([first] * bound)
    plain = _Program(fold_batchnorm(model, example), whole)
    program = plain
    if plan is not None:
        static = bool(layers_of_kind(plan, "static"))
        written = explicit(model, plan, grids=grids, example=example)
        program = _Program(written, whole, (lambda graph: close_int8_islands(graph, calibration)) if static else None)
    (folder / MODEL).write_bytes(program.pte)
    running = running_operations(program.lowered)
    return Lowered(
        precision="float32" if plan is None else smallest_precision(plan),
        computes=computed_types(running),
        execution={"largest_batch": str(bound)},
        layers=() if plan is None else _taken(plan, program.lowered),
        weight_bytes=program.weight_bytes,
        float32_weight_bytes=plain.weight_bytes,
        float32_bytes=len(plain.pte),
        operations_before=exported_operations(program.exported.graph),
        operations_after=running,
        notes=(ROUNDED_OUTPUTS,) if plan is not None and layers_of_kind(plan, "static") else (),
    )


def _require_flat(model: nn.Module) -> None:
    """Hold a net to convolutions that there are kernels for: others compile, and fail when they run (error 0x12)."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            raise Impossible(f"compile: {name!r} is {type(layer).__name__}: {NO_VOLUMES}; deploy on onnxruntime or openvino")


def largest_batch(batch_sizes: tuple[int, ...]) -> int:
    """The batch size up to which a program is made.

    Torch asks of a convolution's batch whether it is below 16, for NNPACK, and takes the answer for a limit of the model: the
    example is as large as the bound, which must not be 16 itself, or the batch size would be fixed.
    """
    bound = max(*batch_sizes, LEAST_BOUND)
    return bound + 1 if bound == NNPACK_BATCH else bound


def _require_kernels(plan: Plan | None) -> None:
    layers = {} if plan is None else {name: entry for name, entry in plan["layers"].items() if entry["type"] != TABLE}
    for name, entry in layers.items():
        if kind(entry) == "half" and (entry["precision"], entry["type"]) != ("float16", "Linear"):
            raise Impossible(f"compile: {name!r}, {entry['type']}, is to be {entry['precision']}: {NO_SIXTEEN_BITS}")
        if kind(entry) == "weights":
            raise Impossible(f"compile: {name!r} is to have {entry['precision']} weights alone: {NO_STORED_WEIGHTS}; {WAYS_OUT}")
        if kind(entry) in ("static", "dynamic") and (entry["type"] in ("LSTM", "GRU") or not entry["symmetric"] or entry["group_size"]):
            raise Impossible(f"compile: {name!r} is {entry['type']}: XNNPACK has int8 with a symmetric scale a channel only; {WAYS_OUT}")


class _Program:
    """A model on its way to ExecuTorch: as exported, as lowered, and as the bytes of a .pte file."""

    def __init__(self, model: nn.Module, example: Batch, rewrite: Callable[[fx.GraphModule], None] | None = None) -> None:
        try:
            with _quiet(), torch.no_grad():
                self.exported = exported(model, example, max_batch=count(example))
                if rewrite is not None:
                    graph_module: Any = self.exported.module(check_guards=False)
                    rewrite(graph_module)
                    self.exported = _exported_again(graph_module, example)
                self.lowered, self.pte = _lowered(self.exported)
        except Impossible as error:
            raise Impossible(f"compile: the model cannot be lowered to ExecuTorch: {error}") from error
        except UNEXPORTABLE as error:
            reason = " ".join(str(error).split())[:300]
            raise Impossible(f"compile: the model cannot be lowered to ExecuTorch: {type(error).__name__}: {reason}") from error

    @property
    def weight_bytes(self) -> int:
        """What the constants take: weights, scales and biases; XNNPACK's int8 weights have no zero points."""
        constants = {name: value for name, value in self.exported.state_dict.items() if value.dtype is not torch.int64}
        return sum(value.numel() * value.element_size() for value in constants.values())


def _exported_again(graph_module: fx.GraphModule, example: Batch) -> ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=count(example))
    return torch.export.export(graph_module, (), kwargs=dict(example), dynamic_shapes={name: {0: batch} for name in example})


def _lowered(exported: ExportedProgram) -> tuple[Any, bytes]:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(sliced(exported), partitioner=[XnnpackPartitioner()], transform_passes=[_infer_batch])
    return edge.exported_program(), bytes(edge.to_executorch().buffer)


def _infer_batch(graph_module: fx.GraphModule) -> Any:
    """Let a reshape infer the batch size (-1) instead of being told it by another operation: XNNPACK takes only that."""
    from executorch.exir.dialects._ops import ops
    from torch.fx.passes.infra.pass_base import PassResult

    for node in graph_module.graph.nodes:
        if node.target is ops.edge.aten.view_copy.default:
            sizes = [size if isinstance(size, int) else -1 for size in node.args[1]]
            if sizes.count(-1) == 1:
                node.args = (node.args[0], sizes)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return PassResult(graph_module, True)


def _taken(plan: Plan, lowered: Any) -> tuple[str, ...]:
    """The planned layers whose small weights are inside XNNPACK's graphs."""
    outside = {name.removesuffix(".weight_int8").removesuffix(".inner.weight") for name in left_out(lowered)}
    inside = (*weighted_of_kind(plan, "static", "dynamic", "half"), *tables_of_kind(plan, "weights", "half"))
    return tuple(name for name in plan["layers"] if name in inside and (name not in outside or plan["layers"][name]["type"] == TABLE))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back torchao's notes on CUDA libraries, and deprecations inside of torch and ExecuTorch."""
    with quiet(*CHATTY), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
