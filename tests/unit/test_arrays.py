"""Arrays by name on disk: any names, no pickles, and nothing read that the file does not hold."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from slimline.artifact import arrays
from slimline.artifact.arrays import read_arrays, read_outputs, write_arrays
from slimline.artifact.signature import InputSignature, Signature
from slimline.data.samples import Samples
from tasks.lengths import apart, at_lengths, breach, timed_lengths
from tasks.time import batches_of


def test_any_name_and_type_comes_back_in_order(tmp_path: Path) -> None:
    given = {"file": np.arange(6).reshape(2, 3), "a/b": np.ones(2, bool), "arr_0": np.zeros((0, 4), np.float16)}
    write_arrays(tmp_path / "t.npz", given)
    found = read_arrays(tmp_path / "t.npz")
    assert list(found) == list(given)
    assert all(np.array_equal(found[name], given[name]) and found[name].dtype == given[name].dtype for name in given)
    assert np.load(tmp_path / "t.npz")["a/b"].all()
    write_arrays(tmp_path / "one.npz", given["file"])
    one = read_outputs(tmp_path / "one.npz")
    assert isinstance(one, np.ndarray)
    assert np.array_equal(one, given["file"])
    assert set(read_outputs(tmp_path / "t.npz")) == set(given)


def test_objects_and_claims_beyond_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="holds objects or less than it claims"):
        read_arrays(path)
    write_arrays(path, {"x": np.zeros((4, 30), np.float32)})
    content = zipfile.ZipFile(path).read("x.npy").replace(b"(4, 30), }       ", b"(99999999, 30), }")[:600]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match="holds objects or less than it claims"):
        read_arrays(path)
    monkeypatch.setattr(arrays, "LARGEST_BYTES", 100)
    with pytest.raises(ValueError, match="it unpacks to 600 bytes, at most 100 are read at once"):
        read_arrays(path)


def test_batches_are_timed_at_the_signatures_own_shape() -> None:
    ids = InputSignature(name="ids", dtype="int64", shape=(7,), varies={0: (2, 7)})
    signature = Signature(inputs=(ids, InputSignature(name="x", dtype="float32", shape=(2,))))
    given = {"ids": np.array([[1, 2, 3], [4, 5, 6]]), "x": np.eye(2, dtype=np.float32)}
    found = batches_of(given, signature, 4)
    assert found["batch_1"]["ids"].tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    assert found["batch_4"]["ids"].shape == (4, 7)
    assert found["batch_4"]["ids"][2].tolist() == found["batch_4"]["ids"][0].tolist()
    assert found["batch_4"]["x"].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_lengths_are_filled_or_cut_and_told_apart_from_the_batches() -> None:
    ids = InputSignature(name="ids", dtype="int64", shape=(7,), varies={0: (2, 9)})
    signature = Signature(inputs=(ids, InputSignature(name="x", dtype="float32", shape=(2,))))
    given = {"ids": np.array([[1, 2, 3, 4]]), "x": np.ones((1, 2), np.float32)}
    found = at_lengths(given, signature, (3, 9))
    assert found["length_3"]["ids"].tolist() == [[1, 2, 3]]
    assert found["length_9"]["ids"].tolist() == [[1, 2, 3, 4, 1, 2, 3, 4, 1]]
    assert found["length_9"]["x"].shape == (1, 2)
    facts = {name: {"latency_ms": {"batch_1": 1.0, "length_3": 2.0}, "peak": 5} for name in ("baseline", "same_runtime_baseline")}
    facts["variants"] = {"int8": {"speed_ratio": {"batch_1": 1.5, "length_3": 3.0}}}
    assert apart(facts, (3,)) == {
        "3": {"baseline": {"latency_ms": 2.0}, "same_runtime_baseline": {"latency_ms": 2.0}, "int8": {"speed_ratio": 3.0}}
    }
    assert facts["variants"]["int8"]["speed_ratio"] == {"batch_1": 1.5}


def test_lengths_not_stated_are_the_median_and_the_longest_and_stated_ones_lie_within() -> None:
    ids = InputSignature(name="ids", dtype="int64", shape=(7,), varies={0: (2, 9)})
    fixed = Signature(inputs=(InputSignature(name="x", dtype="float32", shape=(2,)),))
    varying = Signature(inputs=(ids,))

    class Ragged:
        def __len__(self) -> int:
            return 5

        def batches(self, order):
            return (Samples({"ids": torch.zeros(1, [2, 4, 4, 5, 8][row], dtype=torch.int64)}, torch.zeros(1)) for (row,) in order)

    assert timed_lengths(varying, None, Ragged()) == (4, 9)
    assert timed_lengths(varying, (3,), Ragged()) == (3,)
    assert timed_lengths(varying, (), Ragged()) == ()
    assert timed_lengths(fixed, None, Ragged()) == ()
    assert list(breach(varying, (2, 9))) == list(breach(fixed, None)) == []
    assert list(breach(varying, (1, 5))) == [
        "params.yaml: evaluate.lengths: 1 lies outside 2 to 9, which the samples have; give one within"
    ]
    assert "varies; leave lengths out" in next(breach(fixed, (5,)))
