"""Stage data on samples that are right, and on every kind that is not."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slimline.artifact.folder import sha256_of
from slimline.data.expectations import Finding
from slimline.data.prepared import load_table
from slimline.errors import DataError, InputError
from slimline.objectives.classification import classification
from slimline.params import DataParams
from slimline.workloads import get_workload
from slimline.workloads.digits import Digits
from slimline.workloads.guarded import Guarded, guarded
from tasks import data

CONFIG = DataParams(test_fraction=0.3, validation_fraction=0.1, calibration_samples=32)
SPLITS = ("train", "validation", "calibration", "test")


def prepare(workload: Guarded, folder: Path, config: DataParams = CONFIG) -> list[Finding]:
    """What the stage does with a workload that has code."""
    folder.mkdir(parents=True, exist_ok=True)
    data.write_splits(f"workload {workload.name!r}: splits()", workload.splits(config.model_dump(), 0), folder)
    return data.run(workload, config, folder)[0]


class Spoilt(Digits):
    """The digits, with one thing wrong in the test split, or in all."""

    name = "spoilt"

    def __init__(self, how: str) -> None:
        self.how = how
        if how == "contract one":
            self.example_input = lambda: None
            self.objective = None

    def splits(self, options, seed):
        parts = super().splits(options, seed)
        test = parts["test"]
        if self.how == "leak":
            test = pd.concat([test, parts["train"].iloc[:2]], ignore_index=True)
        elif self.how == "duplicate":
            test = pd.concat([test, test.iloc[:1]], ignore_index=True)
        elif self.how == "nan":
            test.at[3, "pixels"] = np.where(np.arange(64) == 20, np.nan, test.at[3, "pixels"]).astype("float32")
        elif self.how == "label":
            test.loc[5, "label"] = 12
        elif self.how == "words":
            parts = {name: table.assign(label=[f"digit {label}" for label in table["label"]]) for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "column":
            test = test.assign(extra=1.0)
        elif self.how == "renamed":
            parts = {name: table.rename(columns={"pixels": "dots"}) for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "unlabelled":
            parts = {name: table.drop(columns="label") for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "twice":
            test = pd.concat([test, test[["pixels"]]], axis=1)
        elif self.how == "real":
            parts = {name: table.assign(label=table["label"].astype(float)) for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "none":
            test = test.iloc[:0]
        elif self.how == "no table":
            test = 7
        elif self.how == "ragged":
            test = [{"pixels": np.zeros(64, "float32"), "label": 1}, {"pixels": "zeros", "label": 2}]
        elif self.how == "raises":
            raise KeyError("no such file")
        elif self.how == "class":
            parts = {name: table[table["label"] != 7].reset_index(drop=True) for name, table in parts.items()}
            test = parts["test"]
        return parts | {"test": test}


def test_digits_pass_and_are_written_byte_for_byte_alike(in_folder: Path) -> None:
    workload = get_workload("digits")
    for folder in ("prepared", "again"):
        findings = prepare(workload, in_folder / folder)
        assert all(finding.passed for finding in findings)
        data.describe(in_folder / folder, "digits", 0)
    assert [sha256_of(in_folder / "prepared" / f"{split}.arrow") for split in SPLITS] == [
        sha256_of(in_folder / "again" / f"{split}.arrow") for split in SPLITS
    ]
    manifest = json.loads((in_folder / "prepared/manifest.json").read_text())
    assert sum(split["rows"] for split in manifest["splits"].values()) == 1797
    assert manifest["splits"]["test"]["columns"] == {"pixels": "array", "label": "number"}
    table, given = load_table("test", in_folder / "prepared"), workload.splits(CONFIG.model_dump(), 0)["test"]
    assert (table.rows(slice(0, len(table)))["pixels"] == np.stack(given["pixels"])).all()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("leak", r"expect_column_values_to_be_between fails on 'splits_holding_it' \(4 unexpected\); rows: train\[0\]"),
        ("duplicate", r"expect_compound_columns_to_be_unique fails on 'split, content' \(2 unexpected\); rows: test\[0\]"),
        ("nan", r"fails on 'missing' \(1 unexpected\); rows: test: 'pixels' lacks 1, first in row 3"),
        ("label", r"test\[0…\]: row 5 has the class 12; there are 10 labels, from 0 to 9"),
        ("words", r"workload 'spoilt': targets\(\) raised"),
        ("real", r"workload 'spoilt': targets are torch.float64 \[8\]; give class indices, whole numbers \[N\]"),
        ("none", r"split 'test' holds no sample"),
        ("column", r"split 'test' has other columns than train \(extra: double\)"),
        ("renamed", r"workload 'spoilt': inputs\(\) raised KeyError: 'pixels'; mend it there"),
        ("unlabelled", r"workload 'spoilt': targets\(\) raised KeyError: 'label'"),
        ("twice", r"split 'test' has 2 columns 'pixels'"),
        ("no table", r"split 'test' is int; give a DataFrame, a datasets.Dataset or an iterable of dicts"),
        ("ragged", r"split 'test': column 'pixels' cannot be stored: .*; give every row one type"),
        ("raises", r"splits\(\) raised KeyError: 'no such file' \(test_data.py, line \d+\)"),
        ("class", r"expect_column_values_to_be_between fails on 'share' \(4 unexpected\); rows: train: 7 = 0.0"),
        ("contract one", r"'spoilt' is written for the first contract: in place of labels, task, loss and metrics give `objective`"),
    ],
)
def test_what_is_wrong_is_named_with_its_rows(in_folder: Path, how: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(guarded("spoilt", Spoilt(how)), in_folder / "prepared")


def test_splits_that_leave_nothing_to_train_on(in_folder: Path) -> None:
    greedy = DataParams(test_fraction=0.8, validation_fraction=0.15, calibration_samples=32)
    with pytest.raises(DataError, match="make the fractions smaller"):
        prepare(get_workload("digits"), in_folder, greedy)


def test_a_workload_with_other_splits(in_folder: Path) -> None:
    class Odd(Digits):
        def splits(self, options, seed):
            return {"train": super().splits(options, seed)["train"]}

    with pytest.raises(DataError, match=r"splits\(\) gave \['train'\]"):
        prepare(guarded("odd", Odd()), in_folder)


def test_splits_may_be_iterables_that_are_never_held(in_folder: Path) -> None:
    class Drawn(Digits):
        objective = classification(("dark", "light"))

        def splits(self, _options, _seed):
            return {split: draw(place, 40) for place, split in enumerate(SPLITS)}

        def build_teacher(self):
            from torch import nn

            return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    def draw(place: int, rows: int):
        drawn = np.random.default_rng(place)
        for row in range(rows):
            yield {"pixels": (drawn.random(64) * 8 + 8 * (row % 2)).astype("float32"), "label": row % 2}

    assert all(finding.passed for finding in prepare(guarded("drawn", Drawn()), in_folder))
    assert len(load_table("validation", in_folder)) == 40
