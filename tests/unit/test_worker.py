"""Workers: real child processes that predict, are timed, tell their memory, and fail in one clear line."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from slimline.artifact.arrays import write_arrays
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.signature import InputSignature, Signature
from slimline.artifact.variant import save_variant
from slimline.errors import ArtifactError, InputError, MachineError
from slimline.training.fit import predict
from slimline.worker import Worker
from slimline.workloads import get_workload

STUDENT, NAME = {"widths": [8]}, "input"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    workload, folder = get_workload("tabular"), tmp_path_factory.mktemp("models") / "small"
    manifest = Manifest(
        workload="tabular",
        variant="small",
        stage="distill",
        method="scratch",
        config={},
        source="teacher",
        lineage=("small", "teacher"),
        architecture=Architecture(role="student", config=STUDENT),
        structure={},
        seed=0,
        signature=Signature(inputs=(InputSignature(name=NAME, dtype="float32", shape=(30,)),)),
    )
    save_variant(folder, workload.build_student(STUDENT), manifest, workload)
    return folder


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).random((45, 30), dtype=np.float32)


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "slimline.worker" in " ".join(child.cmdline())]


def test_a_worker_predicts_is_timed_and_tells_its_memory(student: Path, inputs: np.ndarray, tmp_path: Path) -> None:
    workload = get_workload("tabular")
    torch.manual_seed(0)
    expected = predict(workload.build_student(STUDENT).eval(), {NAME: torch.from_numpy(inputs)}).numpy()
    write_arrays(tmp_path / "batch.npz", {NAME: inputs[:8]})
    with Worker(student) as worker:
        assert worker.state["execution"]["threads"] == "1"
        assert worker.predict({NAME: inputs}, 16) == pytest.approx(expected, abs=1e-5)
        assert worker.predict(tmp_path / "batch.npz") == pytest.approx(expected[:8], abs=1e-5)
        (turn,) = worker.turns(tmp_path / "batch.npz", 2)
        assert len(turn.samples) == 2
        assert 0 < turn.cpu_ms < 100
        assert turn.first.cpu_ms > 0
        assert turn.calls > sum(len(sample.wall_ms) for sample in turn.samples)
        (child,) = children()
        assert worker.peak_memory_bytes() >= child.memory_info().rss * 0.9
        with pytest.raises(InputError, match=r"takes float32 \[N, 30\]"):
            worker.predict({NAME: inputs[:, :3]}, 16)
    assert not children()


def test_the_child_has_its_threads_and_waits_without_spinning(student: Path) -> None:
    with Worker(student, threads=2) as worker:
        assert worker.state["execution"]["threads"] == "2"
        (child,) = children()
        settings = child.environ()
        assert (settings["OMP_NUM_THREADS"], settings["OMP_WAIT_POLICY"]) == ("2", "passive")


def test_a_crash_of_the_runtime_names_the_model_and_the_signal(student: Path, inputs: np.ndarray) -> None:
    with Worker(student) as worker:
        assert worker.state
        (child,) = children()
        os.kill(child.pid, signal.SIGSEGV)
        with pytest.raises(MachineError, match=r"^small: its process was ended by SIGSEGV at 'predict'; it said last: "):
            worker.predict({NAME: inputs}, 16)


def test_a_relaunched_model_is_a_fresh_process_that_gives_the_same(student: Path, inputs: np.ndarray) -> None:
    with Worker(student, threads=2, relaunches=True) as worker:
        before, state = worker.predict({NAME: inputs}), worker.state
        importer, first = children()
        worker.relaunch()
        assert worker.state == state
        (parent, second) = children()
        assert parent == importer
        assert second != first
        assert not first.is_running()
        assert second.environ()["OMP_NUM_THREADS"] == "2"
        assert (worker.predict({NAME: inputs}) == before).all()
        worker.relaunch()
    assert not children()


@pytest.mark.parametrize("stops", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_of_a_relaunched_model_is_told_as_that_of_any(student: Path, inputs: np.ndarray, stops: signal.Signals) -> None:
    with Worker(student, relaunches=True) as worker:
        worker.relaunch()
        assert worker.state
        os.kill(children()[1].pid, stops)
        with pytest.raises(MachineError, match=rf"^small: its process was ended by {stops.name} at 'predict'; it said last: "):
            worker.predict({NAME: inputs}, 16)
    assert not children()


def test_a_relaunched_model_does_not_outlive_what_it_was_forked_from(student: Path) -> None:
    with Worker(student, relaunches=True) as worker:
        assert worker.state
        importer, forked = children()
        importer.kill()
        forked.wait(5)
        with pytest.raises(MachineError, match="was ended by SIGKILL"):
            worker.peak_memory_bytes()


def test_what_a_relaunched_model_refuses_is_raised_here(tmp_path: Path) -> None:
    with Worker(tmp_path, relaunches=True) as worker, pytest.raises(ArtifactError, match=r"holds no manifest\.json"):
        worker.relaunch()


def test_an_unforeseen_error_shows_the_last_line_it_printed(student: Path, tmp_path: Path) -> None:
    with (
        Worker(student) as worker,
        pytest.raises(MachineError, match=r"ended with code 1 at 'turns'; it said last: FileNotFoundError: .*none\.npz"),
    ):
        worker.turns(tmp_path / "none.npz", 1)


def test_what_loading_refuses_is_raised_here(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker, pytest.raises(ArtifactError, match=r"holds no manifest\.json"):
        worker.predict({NAME: np.zeros((1, 30), np.float32)}, 1)


def test_an_altered_file_is_refused(student: Path, tmp_path: Path) -> None:
    for file in student.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: -1 if file.suffix == ".safetensors" else None])
    with Worker(tmp_path) as worker, pytest.raises(ArtifactError, match="altered or cut short"):
        assert worker.state


def test_no_answer_in_time_ends_the_child(student: Path) -> None:
    with Worker(student, timeout_s=0.01) as worker, pytest.raises(MachineError, match=r"small: no answer to 'load' within 0\.01 s"):
        assert worker.state
    assert not children()


def test_leaving_early_leaves_no_process(student: Path) -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Worker(student):
        raise KeyboardInterrupt
    assert not children()
    assert time.monotonic() - started < 5
