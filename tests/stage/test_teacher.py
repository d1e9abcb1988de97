"""Stage teacher: trained the same way twice, or fetched, and refused where the file is not what it should be."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slimline.data.samples import Samples
from slimline.errors import ArtifactError
from slimline.params import TeacherParams
from slimline.workloads import get_workload
from tasks import teacher
from tests.classification_metrics import classification_metrics

WORKLOAD = get_workload("tabular")


@pytest.fixture(scope="module")
def splits() -> dict[str, Samples]:
    tables = WORKLOAD.splits({"test_fraction": 0.4, "validation_fraction": 0.2, "calibration_samples": 32}, 0)
    return {name: WORKLOAD.samples({column: np.array(table[column]) for column in table}) for name, table in tables.items()}


def made(config: TeacherParams, splits: dict[str, Samples]) -> torch.nn.Module:
    return teacher.run(WORKLOAD, config, splits["train"], splits["validation"], metric="accuracy", seed=0)[0]


def stored(folder: Path, name: str = "weights.safetensors") -> tuple[Path, str]:
    torch.manual_seed(0)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(WORKLOAD.build_teacher().state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_training_is_deterministic_and_learns(splits: dict[str, Samples]) -> None:
    first, second = (made(TeacherParams(epochs=25), splits) for _ in range(2))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    validation = splits["validation"]
    assert classification_metrics(first(**validation.inputs).detach().numpy(), validation.targets.numpy())["accuracy"] > 0.85


@pytest.mark.parametrize("kind", ["file", "hf"])
def test_a_fetched_teacher_has_exactly_these_weights(in_folder: Path, splits: dict[str, Samples], kind: str) -> None:
    path, sha256 = stored(in_folder / "given", "model.safetensors")
    source = f"file:{path}" if kind == "file" else f"hf:{path.parent}"
    model = made(TeacherParams(source=source, sha256=sha256), splits)
    torch.manual_seed(0)
    expected = WORKLOAD.build_teacher().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_a_truncated_file_is_refused_by_its_checksum(in_folder: Path, splits: dict[str, Samples]) -> None:
    path, sha256 = stored(in_folder)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match="altered or cut short"):
        made(TeacherParams(source=f"file:{path}", sha256=sha256), splits)


def test_a_pickled_file_is_refused_with_the_reason(in_folder: Path, splits: dict[str, Samples]) -> None:
    path = in_folder / "teacher.pt"
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match=r"is a pickle.*Convert a pickle"):
        made(TeacherParams(source=f"file:{path}", sha256=sha256), splits)


def test_an_hf_folder_of_pickles_says_so(in_folder: Path, splits: dict[str, Samples]) -> None:
    (in_folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ArtifactError, match=r"no file .*model\.safetensors; the folder holds pytorch_model\.bin, pickles"):
        made(TeacherParams(source=f"hf:{in_folder}", sha256="0" * 64), splits)


def test_wrong_shapes_are_refused(in_folder: Path, splits: dict[str, Samples]) -> None:
    path = in_folder / "w.safetensors"
    save_file(get_workload("digits").build_teacher().state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        ArtifactError, match=r"params\.yaml: teacher\.source: file:.*w\.safetensors: \d+ of \d+ tensors do not fit the model"
    ):
        made(TeacherParams(source=f"file:{path}", sha256=sha256), splits)


def test_weights_that_are_not_finite_are_refused(in_folder: Path, splits: dict[str, Samples]) -> None:
    path = in_folder / "w.safetensors"
    save_file(WORKLOAD.build_teacher().state_dict() | {"1.bias": torch.full((512,), float("nan"))}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match=r"1\.bias holds NaN or infinity"):
        made(TeacherParams(source=f"file:{path}", sha256=sha256), splits)
