"""A compiled variant held to what it was compiled from, on the validation split, by way of the runtime that an application uses."""

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slimline.artifact.compiled import Parity
from slimline.artifact.variant import Variant
from slimline.data.batch import Batch, Tensors, joined
from slimline.data.samples import Split, head, in_order
from slimline.data.signature import Signature, signature_of
from slimline.loaders import Outputs
from slimline.methods.compile.parity import compare_outputs, require_parity
from slimline.methods.quantize.simulate import simulate
from slimline.objectives import Objective
from slimline.runtime import load
from slimline.training.fit import BATCH_SIZE, predict

COMPILED_BATCH_SIZE = 32


def signature_from(variant: Variant, calibration: Batch, validation: Split) -> Signature:
    """What the model takes and gives: as its manifest says, else as the samples that this stage reads show it."""
    if variant.manifest.signature is not None:
        return variant.manifest.signature
    batches = [calibration, *(batch.inputs for batch in in_order(validation, COMPILED_BATCH_SIZE))]
    return signature_of(batches, predict(variant.model, head(validation, 2).inputs))


def outputs_of(folder: Path, validation: Split, workload: str) -> Outputs:
    """What the compiled model gives, by way of the runtime that an application uses."""
    model = load(folder, workload=workload, trust_code=True)  # made a moment ago, by ourselves
    parts = [model.predict(_arrays(batch.inputs)) for batch in in_order(validation, COMPILED_BATCH_SIZE)]
    return _arrays(joined([_tensors(outputs) for outputs in parts]))


def check(label: str, variant: Variant, folder: Path, validation: Split, objective: Objective, workload: str) -> Parity:
    """Compare the compiled model with its source (float32) or with its plan's simulation, on the validation split.

    Raises:
        StageError: a bound is broken; the message has the worst sample.
    """
    reference_model = variant.model if variant.plan is None else simulate(variant.model, variant.plan, variant.grids)
    reference, outputs = _predicted(reference_model, validation), outputs_of(folder, validation, workload)
    source = None if variant.plan is None else _predicted(variant.model, validation)
    parity = compare_outputs(reference, outputs, objective=objective, exact=variant.plan is None, source=source)
    require_parity(label, parity, reference, outputs)
    return parity


def _predicted(model: nn.Module, split: Split) -> Outputs:
    return _arrays(joined([predict(model, batch.inputs) for batch in in_order(split, BATCH_SIZE)]))


def _arrays(values: Tensors) -> dict[str, NDArray[Any]] | NDArray[Any]:
    """Tensors, one or several by name, as arrays."""
    return values.numpy() if isinstance(values, Tensor) else {name: value.numpy() for name, value in values.items()}


def _tensors(values: Outputs) -> Tensors:
    return {name: torch.from_numpy(value) for name, value in values.items()} if isinstance(values, dict) else torch.from_numpy(values)
