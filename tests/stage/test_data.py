"""Stage data on tables that are right, and on every kind that is not."""

import json
from pathlib import Path

import pandas as pd
import pytest

from slimline.errors import DataError, InputError
from slimline.params import DataParams
from slimline.workloads import get_workload
from slimline.workloads.digits import Digits
from slimline.workloads.guarded import guarded
from tasks import data

CONFIG = DataParams(test_fraction=0.3, validation_fraction=0.1, calibration_samples=32)


class Spoilt(Digits):
    """The digits, with one thing wrong in the test split."""

    def __init__(self, how: str) -> None:
        self.how = how

    def splits(self, sizes, seed):
        parts = super().splits(sizes, seed)
        test = parts["test"]
        if self.how == "leak":
            test = pd.concat([test, parts["train"].iloc[:2]], ignore_index=True)
        elif self.how == "duplicate":
            test = pd.concat([test, test.iloc[:1]], ignore_index=True)
        elif self.how == "nan":
            test.loc[3, "pixel_2_2"] = float("nan")
        elif self.how == "range":
            test.loc[4, "pixel_2_2"] = 99.0
        elif self.how == "label":
            test.loc[5, "label"] = 12
        elif self.how == "words":
            test = test.assign(label=[f"digit {label}" for label in test["label"]])
        elif self.how == "column":
            parts = {name: table.drop(columns="pixel_2_2") if name == "test" else table for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "columns":
            parts = {name: table.drop(columns="pixel_2_2") for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "unlabelled":
            parts = {name: table.drop(columns="label") for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "reserved":
            parts = {name: table.rename(columns={"pixel_2_2": "row"}) for name, table in parts.items()}
            test = parts["test"]
        elif self.how == "twice":
            test = pd.concat([test, test[["pixel_2_2"]]], axis=1)
        elif self.how == "real":
            test = test.assign(label=test["label"].astype(float))
        elif self.how == "none":
            test = test.iloc[:0]
        elif self.how == "no table":
            test = []
        elif self.how == "raises":
            raise KeyError("no such file")
        elif self.how == "class":
            test = test[test["label"] != 7].reset_index(drop=True)
            parts["train"] = parts["train"][parts["train"]["label"] != 7]
            parts["validation"] = parts["validation"][parts["validation"]["label"] != 7]
            parts["calibration"] = parts["calibration"][parts["calibration"]["label"] != 7]
        return parts | {"test": test}


def test_digits_pass_and_are_written_whole(in_folder: Path) -> None:
    workload = get_workload("digits")
    splits, findings = data.run(workload, CONFIG, seed=0)
    assert len(findings) > 190
    assert all(finding.passed for finding in findings)
    data.save_splits(splits, in_folder / "prepared", "digits", 0)
    again = data.save_splits(splits, in_folder / "again", "digits", 0)
    manifest = json.loads((in_folder / "prepared/manifest.json").read_text())
    assert manifest["splits"] == again
    assert sum(split["rows"] for split in manifest["splits"].values()) == 1797
    hashes = [sample for split in manifest["splits"].values() for sample in split["samples"]]
    assert len(set(hashes)) == len(hashes) == 1797
    assert pd.read_parquet(in_folder / "prepared/test.parquet").equals(splits["test"])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("leak", r"expect_column_values_to_be_between fails on 'splits_holding_it' \(4 unexpected\); rows: train\[0\]"),
        ("duplicate", r"expect_compound_columns_to_be_unique fails on 'split, content' \(2 unexpected\); rows: test\[0\]"),
        ("nan", r"expect_column_values_to_not_be_null fails on 'pixel_2_2' \(1 unexpected\); rows: test\[3\]"),
        ("range", r"expect_column_values_to_be_between fails on 'pixel_2_2' \(1 unexpected\); rows: test\[4\] = 99"),
        ("label", r"expect_column_values_to_be_in_set fails on 'label' \(1 unexpected\); rows: test\[5\] = 12"),
        ("words", r"fails on 'label'"),
        ("real", r"expect_column_values_to_be_in_type_list fails on 'label' \(1 unexpected\); rows: observed float64"),
        ("none", r"split 'test' has 0 rows and 65 columns"),
        ("column", r"split 'test' has no column 'pixel_2_2'"),
        ("columns", r"workload 'spoilt': inputs\(\) raised (RuntimeError|ValueError): .*; mend it there"),
        ("unlabelled", r"split 'train' has no column 'label'"),
        ("twice", r"split 'test' has 2 columns 'pixel_2_2'"),
        ("reserved", r"split 'train' has a column 'row'"),
        ("no table", r"splits\(\) gave list for 'test'"),
        ("raises", r"splits\(\) raised KeyError: 'no such file' \(test_data.py, line \d+\)"),
        ("class", r"expect_column_values_to_be_between fails on 'share' \(4 unexpected\); rows: train: class 7 = 0.0"),
    ],
)
def test_a_failed_expectation_is_named_with_its_rows(how: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        data.run(guarded("spoilt", Spoilt(how)), CONFIG, seed=0)


def test_splits_that_leave_nothing_to_train_on() -> None:
    greedy = DataParams(test_fraction=0.8, validation_fraction=0.15, calibration_samples=32)
    with pytest.raises(DataError, match="make the fractions smaller"):
        data.run(get_workload("digits"), greedy, seed=0)


def test_a_workload_with_other_splits() -> None:
    class Odd(Digits):
        def splits(self, sizes, seed):
            return {"train": super().splits(sizes, seed)["train"]}

    with pytest.raises(DataError, match=r"splits\(\) gave \['train'\]"):
        data.run(guarded("odd", Odd()), CONFIG, seed=0)
