"""A compiled variant held to what it was compiled from, on the validation split, by way of the runtime that an application uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from slimline.artifact.compiled import Answer, Generations, Parity
from slimline.artifact.variant import Variant
from slimline.data.batch import Batch, as_arrays, as_tensors, joined, take
from slimline.data.samples import Samples, Split, head, in_order
from slimline.data.signature import Signature, signature_of
from slimline.data.windows import Windows
from slimline.errors import ArtifactError, MachineError, StageError
from slimline.generation import Sampling, first_difference
from slimline.loaders import Outputs
from slimline.methods import GENERATING
from slimline.methods.compile.parity import compare_outputs, compared, parity_of, require_parity
from slimline.methods.quantize.simulate import simulate
from slimline.objectives import Objective
from slimline.runtime import load
from slimline.training.fit import BATCH_SIZE, held_together, predict
from slimline.worker import Worker
from slimline.workloads import get_workload

COMPILED_BATCH_SIZE = 32
PARITY_TOKENS, LEAST_WINDOWS = 8192, 4
"""Of validation, by which the logits of a language model are held to its source's."""
PROMPTS, ANSWER_TOKENS, SHOWN = 4, 48, 160
"""Greedy answers that are compared, and the characters of each that are shown."""


def signature_from(variant: Variant, calibration: Batch, validation: Split) -> Signature:
    """What the model takes and gives: as its manifest says, else as the samples that this stage reads show it."""
    if variant.manifest.signature is not None:
        return variant.manifest.signature
    batches = [calibration, *(batch.inputs for batch in in_order(validation, COMPILED_BATCH_SIZE))]
    return signature_of(batches, predict(variant.model, head(validation, 2).inputs))


def outputs_of(folder: Path, validation: Split, workload: str) -> Outputs:
    """What the compiled model gives, by way of the runtime that an application uses."""
    model = load(folder, workload=workload, trust_code=True)  # made a moment ago, by ourselves
    parts = [model.predict(as_arrays(batch.inputs)) for batch in in_order(validation, COMPILED_BATCH_SIZE)]
    found: Outputs = as_arrays(joined([as_tensors(outputs) for outputs in parts]))
    return found


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


def check_language(
    label: str, variant: Variant, folder: Path, validation: Split, objective: Objective, workload: str, target: str
) -> Parity:
    """The same of a language model, some windows at a time, in a process of its own; and its greedy answers beside the reference's.

    Raises:
        StageError: a bound is broken, or the runtime does not run the graph, or dies on it.
    """
    exact = variant.plan is None
    reference_model = variant.model if variant.plan is None else simulate(variant.model, variant.plan, variant.grids)
    few = head(validation, max(LEAST_WINDOWS, PARITY_TOKENS // _width(validation)))
    batch_size = held_together(variant.model, validation, COMPILED_BATCH_SIZE)
    parts, worst = [], None
    with _as_stage_error(label), Worker(folder, workload=workload) as worker:
        for start in range(0, len(few), batch_size):
            inputs = take(few.inputs, slice(start, start + batch_size))
            reference, outputs = as_arrays(predict(reference_model, inputs)), worker.predict(as_arrays(inputs))
            source = None if exact else as_arrays(predict(variant.model, inputs))
            parts.append(compared(reference, outputs, objective=objective, source=source))
            if worst is None or parts[-1].max_abs_difference > worst[0]:
                worst = (parts[-1].max_abs_difference, reference, outputs)
        parity = parity_of(parts, exact=exact)
        if worst is not None:
            require_parity(label, parity, *worst[1:])
        return parity.model_copy(update={"generations": generations(reference_model, worker, few, workload, target)})


def generations(reference: nn.Module, worker: Worker, few: Samples, workload: str, target: str) -> Generations | None:
    """Greedy answers to the beginnings of some windows; None on a target that does not generate."""
    windows = get_workload(workload).preprocessing
    if target not in (*GENERATING, "eager") or not isinstance(windows, Windows):
        return None
    from slimline.generation.eager import generator_of  # transformers and what it brings: 3 s that no other net needs

    lengths = few.inputs["attention_mask"].sum(1).tolist()
    rows = list(few.inputs["input_ids"].tolist())[:PROMPTS]
    prompts = [row[: max(1, int(length) // 2)] for row, length in zip(rows, lengths, strict=False)]
    sampling = Sampling(max_new_tokens=ANSWER_TOKENS)
    expected = [generator_of(reference, windows).generate(prompt, sampling).tokens for prompt in prompts]
    found = [worker.generate([prompt], sampling)[0].tokens for prompt in prompts]
    parted = [first_difference(one, other) for one, other in zip(expected, found, strict=True)]
    tokens = sum(map(len, expected))
    equal = sum(len(one) if place is None else place for one, place in zip(expected, parted, strict=True))
    answers = tuple(
        Answer(
            prompt=_line(windows.decoded(prompt)[-SHOWN:]), reference=_line(windows.decoded(one)), compiled=_line(windows.decoded(other))
        )
        for prompt, one, other in zip(prompts, expected, found, strict=True)
    )
    share = equal / max(1, tokens)
    return Generations(prompts=len(prompts), tokens=tokens, equal_share=share, parted_at=tuple(parted), answers=answers)


def _line(text: str) -> str:
    """A text in one line, its breaks as they are written in code, cut where it is long."""
    told = text.encode("unicode_escape", "backslashreplace").decode("ascii") if not text.isprintable() else text
    return told if len(told) <= SHOWN else f"{told[: SHOWN - 1]}…"


def _width(split: Split) -> int:
    return int(head(split, 1).inputs["input_ids"].shape[1])


@contextmanager
def _as_stage_error(label: str) -> Iterator[None]:
    """A runtime that dies on a graph, or refuses it, is this variant's failure on this target, and nobody else's."""
    try:
        yield
    except (ArtifactError, MachineError) as error:
        raise StageError(f"compile.{label}: {error}") from error


def _predicted(model: nn.Module, split: Split) -> Outputs:
    found: Outputs = as_arrays(joined([predict(model, batch.inputs) for batch in in_order(split, BATCH_SIZE)]))
    return found
