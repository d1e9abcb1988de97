"""`slimline predict`: run a released, compiled or plain variant on a file of samples."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimline.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from slimline.runtime import Model

BATCH_SIZE = 256
ENDINGS = (".npy", ".parquet", ".csv")


def predict(
    location: Annotated[str, typer.Argument(help="A folder, or the s3:// URL of a release or an alias.")],
    inputs: Annotated[Path, typer.Option("--input", help="samples.npy (float32, the model's inputs), or a table: .parquet, .csv.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one object a row for a machine.")] = False,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Load a torchscript or inductor model, which runs code.")] = False,
) -> None:
    """Print the predicted label and its probability for each sample.

    Example: `slimline predict s3://slimline/releases/digits/aliases/latest.json --input data/prepared/test.parquet`
    """
    from slimline.runtime import load

    model = load(location, trust_code=trust_code)
    batch = _samples(inputs, model)
    rows = [_row(index, logits, model.labels) for index, logits in enumerate(_logits(model, batch))]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.writelines(f"{row['row']}\t{row['label']}\t{row['probability']:.4f}\n" for row in rows)


def _logits(model: "Model", batch: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    return np.concatenate([model.predict(batch[start : start + BATCH_SIZE]) for start in range(0, len(batch), BATCH_SIZE)])


def _row(index: int, logits: "NDArray[np.float32]", labels: tuple[str, ...]) -> dict[str, Any]:
    from scipy.special import softmax

    best = int(logits.argmax())
    return {"row": index, "label": labels[best], "probability": float(softmax(logits.astype("float64"))[best])}


def _samples(path: Path, model: "Model") -> "NDArray[np.float32]":
    """The model's inputs, float32 [N, …].

    Raises:
        InputError: no such file, an unknown ending, or the wrong shape.
        DataError: a value is missing or not finite, or a column is.
    """
    import numpy as np

    if path.suffix not in ENDINGS:
        raise InputError(f"--input {path}: ends with {path.suffix or 'nothing'!r}; give one of {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"--input {path}: no such file")
    batch = _from_array(path) if path.suffix == ".npy" else _from_table(path, model)
    expected = ", ".join(str(size) for size in model.input_shape)
    if batch.shape[1:] != model.input_shape or len(batch) == 0:
        raise InputError(f"--input {path}: has shape {list(batch.shape)}; the model takes [N, {expected}] with N at least 1")
    if not (finite := np.isfinite(batch).reshape(len(batch), -1).all(axis=1)).all():
        raise DataError(f"--input {path}: row {int(np.argmin(finite))} holds NaN or infinity; mend or drop it")
    return batch


def _from_array(path: Path) -> "NDArray[np.float32]":
    import numpy as np

    try:
        values = np.load(path, allow_pickle=False)
        if np.iscomplexobj(values):
            raise InputError(f"--input {path}: holds complex numbers; the model takes real ones")
        return np.ascontiguousarray(values, dtype=np.float32)
    except (ValueError, EOFError, TypeError) as error:
        raise InputError(f"--input {path}: is no array of numbers in NumPy's format: {error}") from error


def _from_table(path: Path, model: "Model") -> "NDArray[np.float32]":
    import numpy as np
    import pandas as pd
    from pyarrow import ArrowInvalid

    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"--input {path}: is no readable {path.suffix[1:]} table: {' '.join(str(error).split())[:200]}") from error
    return np.ascontiguousarray(_workload_inputs(path, table, model), dtype=np.float32)


def _workload_inputs(path: Path, table: Any, model: "Model") -> Any:
    """The model's inputs as its workload makes them of a table."""
    from slimline.runtime import workload_of

    features = table.drop(columns="label", errors="ignore")
    if features.empty:
        raise DataError(f"--input {path}: holds no row of features; give at least one sample")
    names = list(getattr(model.manifest, "columns", ()) or features.columns)
    if missing := [name for name in names if name not in features.columns]:
        raise DataError(f"--input {path}: column {missing[0]!r} is missing ({len(missing)} of {len(names)} are); add it")
    if others := [name for name in names if features[name].dtype.kind not in "fiub"]:
        raise DataError(f"--input {path}: column {others[0]!r} does not hold numbers; the model takes numbers only")
    if empty := [name for name in names if features[name].isna().any()]:
        row = int(features[empty[0]].isna().to_numpy().argmax())
        raise DataError(f"--input {path}: column {empty[0]!r} has no value in row {row}; fill it or drop the row")
    try:
        return workload_of(model.manifest).inputs(features[names]).numpy()
    except (ValueError, RuntimeError, KeyError) as error:
        raise DataError(f"--input {path}: {len(features.columns)} feature columns do not make the model's inputs: {error}") from error
