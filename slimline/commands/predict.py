"""`slimline predict`: run a released, compiled or plain variant on a file of samples."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimline.artifact.border import told_as
from slimline.commands.own_workload import OwnWorkload
from slimline.errors import ArtifactError

if TYPE_CHECKING:
    from slimline.loaders import Outputs
    from slimline.objectives.readings import Reading

IN_MEMORY_BYTES = 8_000_000


def predict(
    location: Annotated[str, typer.Argument(help="A folder, or the s3:// URL of a release or an alias.")],
    inputs: Annotated[
        Path, typer.Option("--input", help="A picture or a folder of them, a table (.csv, .parquet, .arrow), or arrays (.npz, .npy).")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one object a row for a machine.")] = False,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Load a torchscript or inductor model, which runs code.")] = False,
    workload: OwnWorkload = None,
) -> None:
    """Print the answer for each sample, how sure the model is of it where it can say so, and of a folder which file it is of.

    Example: `slimline predict s3://slimline/releases/images/aliases/latest.json --input photo.png`
    """
    from slimline.commands.raw_files import is_raw, raw_samples
    from slimline.commands.sample_files import samples
    from slimline.runtime import load, workload_of

    model = load(location, workload=workload, trust_code=trust_code)
    pieces: Iterable[tuple[Any, list[Path]]]
    if model.preprocessing is not None and is_raw(inputs):
        pieces = raw_samples(inputs, model.preprocessing)
    else:
        pieces = ((piece, []) for piece in samples(inputs, model.signature, lambda: workload_of(model.manifest, workload)))
    answered = ((model.predict(piece), files if inputs.is_dir() else []) for piece, files in pieces)
    rows = _rows(answered, model.reading, str(model.manifest.objective["name"]))
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, "w+", encoding="utf-8") as written:  # all of it is printed, or nothing
        for row in rows:
            written.write(_object(row) if as_json else _line(row))
        written.write("\n]\n" if as_json else "")
        written.seek(0)
        shutil.copyfileobj(written, sys.stdout)


def _rows(answered: "Iterable[tuple[Outputs, Sequence[Path]]]", reading: "Reading", objective: str) -> Iterator[dict[str, Any]]:
    """One object a sample: its row, the answer, where the model tells it the confidence, and its file where there is one a sample."""
    first = 0
    for piece, files in answered:
        _require_finite(piece, first)
        with told_as(lambda reason: ArtifactError(f"the model's outputs are none of {objective}: {reason}")):
            answers = [reading.shown(answer) for answer in reading.answers(piece)]
            confidence = reading.confidence(piece)
            sure = [{}] * len(answers) if confidence is None else [{"confidence": float(value)} for value in confidence]
        for index, (answer, how_sure) in enumerate(zip(answers, sure, strict=True)):
            file = {"file": str(files[index])} if files else {}
            yield {"row": first + index, "answer": answer, **how_sure, **file}
        first += len(answers)


def _require_finite(outputs: "Outputs", first: int) -> None:
    """Hold outputs to being finite numbers.

    Raises:
        ArtifactError: one is not.
    """
    import numpy as np

    for values in outputs.values() if isinstance(outputs, dict) else (outputs,):
        if not (finite := np.isfinite(values).reshape(len(values), -1).all(axis=1)).all():
            raise ArtifactError(f"row {first + int(np.argmin(finite))}: the model gives no finite numbers; its weights are damaged")


def _line(row: dict[str, Any]) -> str:
    sure = f"\t{row['confidence']:.4f}" if "confidence" in row else ""
    file = f"\t{_shown(row['file'])}" if "file" in row else ""
    return f"{row['row']}\t{_shown(row['answer'])}{sure}{file}\n"


def _object(row: dict[str, Any]) -> str:
    """A row as an entry of a JSON list that goes on."""
    return ("[\n" if row["row"] == 0 else ",\n") + indent(json.dumps(row, indent=2), "  ")


def _shown(text: str) -> str:
    """An answer or a file's name, so that nothing in it can move the cursor or begin a line of its own."""
    return text if text.isprintable() else repr(text)
