"""`slimline predict`: run a released, compiled or plain variant on a file of samples."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimline.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IN_MEMORY_BYTES = 8_000_000


def predict(
    location: Annotated[str, typer.Argument(help="A folder, or the s3:// URL of a release or an alias.")],
    inputs: Annotated[Path, typer.Option("--input", help="samples.npy (float32, the model's inputs), or a table: .parquet, .csv.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one object a row for a machine.")] = False,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Load a torchscript or inductor model, which runs code.")] = False,
    workload: Annotated[
        str | None, typer.Option(help="Your own copy of a workload that is not bundled: path/to/file.py:ClassName, or its name.")
    ] = None,
) -> None:
    """Print the predicted label and its probability for each sample.

    Example: `slimline predict s3://slimline/releases/digits/aliases/latest.json --input data/prepared/test.parquet`
    """
    from slimline.commands.sample_files import samples
    from slimline.runtime import load, workload_of

    model = load(location, workload=workload, trust_code=trust_code)
    columns = getattr(model.manifest, "columns", ())
    pieces = samples(inputs, model.input_shape, columns, lambda: workload_of(model.manifest, workload))
    rows = _rows((model.predict(piece) for piece in pieces), model.labels)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, "w+", encoding="utf-8") as written:  # all of it is printed, or nothing
        for row in rows:
            written.write(_object(row) if as_json else f"{row['row']}\t{_shown(row['label'])}\t{row['probability']:.4f}\n")
        written.write("\n]\n" if as_json else "")
        written.seek(0)
        shutil.copyfileobj(written, sys.stdout)


def _rows(logits: "Iterator[NDArray[np.float32]]", labels: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    import numpy as np
    from scipy.special import softmax

    first = 0
    for piece in logits:
        if not (finite := np.isfinite(piece).all(axis=1)).all():
            raise ArtifactError(f"row {first + int(np.argmin(finite))}: the model gives no finite numbers; its weights are damaged")
        for index, (best, values) in enumerate(zip(piece.argmax(axis=1), softmax(piece.astype("float64"), axis=1), strict=True)):
            yield {"row": first + index, "label": labels[best], "probability": float(values[best])}
        first += len(piece)


def _object(row: dict[str, Any]) -> str:
    """A row as an entry of a JSON list that goes on."""
    return ("[\n" if row["row"] == 0 else ",\n") + indent(json.dumps(row, indent=2), "  ")


def _shown(label: str) -> str:
    """A label that nothing in it can move the cursor or begin a line of its own."""
    return label if label.isprintable() else repr(label)
