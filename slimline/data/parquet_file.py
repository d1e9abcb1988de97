"""A Parquet file some rows at a time, its cells as plain Python has them."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd


def parquet_pieces(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """At most `rows` rows at a time; what is missing is None or NaN, never pandas' own NA, which is neither true nor false.

    Raises:
        pyarrow.ArrowException: it is no Parquet file, or is damaged.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(rows):
            yield _plain(batch.to_pandas())


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    for place, dtype in enumerate(frame.dtypes):
        if getattr(dtype, "na_value", None) is pd.NA:
            cells = frame.iloc[:, place]
            frame.isetitem(place, cells.astype(object).where(cells.notna(), None))
    return frame
