"""The queue that params need, what this machine lacks, and the memory that a stage took."""

import subprocess
import sys
import time

import psutil
import pytest

from flows.peaks import PEAKS, keep_peaks, peaks, took, watched
from flows.queues import BIG_MEMORY, BIG_MEMORY_BYTES, DEFAULT, GPU, Needs, lacking, needs_of
from slimline.params import Params

HALF_A_GIBIBYTE = 1 << 29
EATS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'held = bytearray({HALF_A_GIBIBYTE}); import time; time.sleep(3)'])"


@pytest.fixture
def params(project):
    return Params.load(project / "params.yaml")


def test_the_params_choose_the_queue(params, tmp_path):
    assert needs_of(params, tmp_path, "params.yaml").queue == DEFAULT
    trained = params.model_copy(update={"teacher": params.teacher.model_copy(update={"device": "cuda"})})
    assert needs_of(trained, tmp_path, "params.yaml") == Needs(("teacher",), 0)
    assert needs_of(trained, tmp_path, "params.yaml").queue == GPU
    assert needs_of(trained, tmp_path, "params.yaml", ["report", "calibrate"]).gpu == (), "no stage of these trains"
    name, entry = next(iter(params.prune.items()))
    pruned = params.model_copy(update={"prune": {**params.prune, name: entry.model_copy(update={"device": "cuda"})}})
    assert needs_of(pruned, tmp_path, "params.yaml", [f"prune@{name}"]).gpu == (f"prune.{name}",)


def test_memory_is_what_was_measured_for_that_file(params, tmp_path):
    took("teacher", BIG_MEMORY_BYTES + 1)
    keep_peaks(tmp_path, "params/big.yaml")
    assert needs_of(params, tmp_path, "params/big.yaml").queue == BIG_MEMORY
    assert needs_of(params, tmp_path, "params.yaml").queue == DEFAULT
    assert needs_of(params, tmp_path, "params/big.yaml", ["report"]).queue == DEFAULT
    (tmp_path / PEAKS).write_text("[")
    assert peaks(tmp_path, "params/big.yaml") == {}


def test_what_the_machine_lacks_is_a_line_each(monkeypatch):
    monkeypatch.setattr("flows.queues.GPU_DEVICES", ())
    total = psutil.virtual_memory().total
    lines = list(lacking(Needs(("teacher", "prune.half"), total + 1), "params/big.yaml"))
    assert lines[0].startswith("params/big.yaml: teacher.device, prune.half.device: cuda: this machine has no GPU; slimline send ")
    assert f"{total + 1:,} bytes of memory, this machine has {total:,}" in lines[1]
    assert list(lacking(Needs((), total), "params.yaml")) == []


def test_the_largest_process_below_a_stage_is_seen():
    process = subprocess.Popen([sys.executable, "-c", EATS])
    with watched(process.pid) as found:
        process.wait()
        time.sleep(0.1)
    assert HALF_A_GIBIBYTE < found[-1] < 2 * HALF_A_GIBIBYTE
