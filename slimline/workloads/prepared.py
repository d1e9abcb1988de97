"""Read the splits that the data stage wrote under data/prepared/."""

from pathlib import Path

import pandas as pd
import torch

from slimline.artifact.border import told_as
from slimline.data.samples import Samples
from slimline.errors import DataError
from slimline.workloads import Workload

PREPARED = Path("data/prepared")


def load_table(split: str, folder: Path = PREPARED) -> pd.DataFrame:
    """One split as a table of feature columns and `label`.

    Raises:
        DataError: the split has not been prepared, or its file is damaged.
    """
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise DataError(f"{path}: missing; run the stage `data` first (dvc repro data)")
    with told_as(lambda reason: DataError(f"{path}: is no readable parquet table: {reason}; prepare it again (dvc repro --force data)")):
        return pd.read_parquet(path)


def load_split(workload: Workload, split: str, folder: Path = PREPARED) -> Samples:
    """One split as the model's inputs [N, …] and class indices [N]."""
    table = load_table(split, folder)
    return Samples(workload.inputs(table), torch.tensor(table["label"].to_numpy(), dtype=torch.int64))
