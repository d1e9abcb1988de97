"""Arrays by name on disk: any names, no pickles, and nothing read that the file does not hold."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from slimline.artifact import arrays
from slimline.artifact.arrays import read_arrays, read_outputs, write_arrays
from slimline.artifact.signature import InputSignature, Signature
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
