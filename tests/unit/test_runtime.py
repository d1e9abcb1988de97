"""The runtime: loads what was compiled and nothing that was altered, without torch where it can, and phones nobody."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.compiled import NEEDED_SETTINGS, SETTINGS, CompiledManifest
from slimline.artifact.folder import checksums, write_json
from slimline.artifact.manifest import Architecture, Manifest, write_manifest
from slimline.artifact.variant import save_variant
from slimline.data.preprocessing import Texts
from slimline.errors import ArtifactError, InputError, WorkloadError
from slimline.methods import get_method
from slimline.objectives.described import objective_of
from slimline.params import TARGETS as EVERY_TARGET
from slimline.runtime import load
from slimline.workloads.digits import Digits
from tests.lowering import samples

WORKLOAD = Digits()
STUDENT = Architecture(role="student", config={"channels": [4, 4, 4]})
OBJECTIVE = {"name": "classification", "labels": list("0123456789")}
TARGETS = ("eager", "onnxruntime", "openvino")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(5)
    return WORKLOAD.build_student(dict(STUDENT.config)).eval()


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(6).normal(size=(9, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def compiled(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model compiled for each target."""
    place = tmp_path_factory.mktemp("compiled")
    calibration: Tensor = torch.randn(16, 1, 8, 8)
    for target in TARGETS:
        folder = place / target
        folder.mkdir()
        given = samples(model, calibration)
        lowered = get_method("compile", target)(model, None, folder, **given)
        manifest = CompiledManifest(
            workload="digits",
            variant="small",
            target=target,
            precision=lowered.precision,
            computes=lowered.computes,
            stage="distill",
            method="scratch",
            source="teacher",
            lineage=("small", "teacher"),
            signature=given["signature"],
            objective=OBJECTIVE,
            source_sha256="0" * 64,
            execution=lowered.execution,
            architecture=STUDENT if target == "eager" else None,
            structure={} if target == "eager" else None,
            files=checksums(folder),
        )
        write_manifest(folder, manifest)
    return place


def copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_predicts_what_the_model_does(target: str, compiled: Path, model: nn.Module, batch: np.ndarray) -> None:
    runtime = load(compiled / target)
    with torch.no_grad():
        expected = model(torch.from_numpy(batch)).numpy()
    assert np.allclose(runtime.predict(batch), expected, atol=1e-4)
    assert np.array_equal(runtime.predict({runtime.signature.inputs[0].name: batch}), runtime.predict(batch))
    assert runtime.signature.text.endswith(": float32 [N, 1, 8, 8]")
    assert [runtime.objective.shown(answer) for answer in (0, 9)] == ["0", "9"]
    strange = np.asfortranarray(batch)
    strange.flags.writeable = False
    assert np.allclose(runtime.predict(strange), expected, atol=1e-4)
    assert np.allclose(np.concatenate([runtime.predict(batch[:4]), runtime.predict(batch[4:])]), expected, atol=1e-4)
    kept = runtime.predict(batch)
    runtime.predict(batch * 2)
    assert np.allclose(kept, expected, atol=1e-4), "an answer must not change when the next one is made"


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8), np.float32), np.zeros((2, 1, 8, 8), complex), np.zeros((0, 1, 8, 8), np.float32)])
def test_a_wrong_batch_is_refused_in_words(wrong: np.ndarray, compiled: Path) -> None:
    with pytest.raises(InputError, match=r"the model takes float32 \[N, 1, 8, 8\]"):
        load(compiled / "onnxruntime").predict(wrong)
    with pytest.raises(InputError, match=r"the model takes \w+: float32 \[N, 1, 8, 8\]; given: other"):
        load(compiled / "onnxruntime").predict({"other": wrong})


@pytest.mark.parametrize("target", TARGETS)
def test_an_altered_file_is_refused(target: str, compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / target, tmp_path / "c")
    victim = max((path for path in folder.iterdir() if path.name != "manifest.json"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{victim.name} has sha256 .* it was altered or cut short"):
        load(folder)


def test_a_large_vocabulary_is_read(compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / "onnxruntime", tmp_path / "c")
    words = tuple(f"{'word':_>40}{number}" for number in range(60_000))
    write_json(folder / "preprocessing.json", Texts(column="text", vocabulary=words, longest=4).model_dump(mode="json"))
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | {"files": checksums(folder)})
    preprocessing = load(folder).preprocessing
    assert isinstance(preprocessing, Texts)
    assert len(preprocessing.vocabulary) == 60_000


def test_a_missing_and_an_extra_file_are_refused(compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / "openvino", tmp_path / "c")
    (folder / "model.bin").unlink()
    with pytest.raises(ArtifactError, match=r"model\.bin is listed in manifest\.json and missing"):
        load(folder)
    folder = copied(compiled / "openvino", tmp_path / "d")
    (folder / "extra.so").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"extra\.so is not listed"):
        load(folder)


def test_a_releases_papers_may_lie_beside_the_files(compiled: Path, tmp_path: Path, batch: np.ndarray) -> None:
    folder = copied(compiled / "onnxruntime", tmp_path / "c")
    (folder / "MODEL_CARD.md").write_text("card")
    with pytest.raises(ArtifactError, match=r"MODEL_CARD\.md is not listed"):
        load(folder)
    write_json(folder / "release.json", {"schema": 1})
    assert load(folder).predict(batch).shape == (9, 10)


def test_no_artifact_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no manifest\.json"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "compiled", "target": "abacus"}')
    with pytest.raises(ArtifactError, match="not the manifest of a compiled variant"):
        load(tmp_path)


def test_a_manifest_without_the_runtimes_settings_is_refused(compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / "openvino", tmp_path / "c")
    manifest = json.loads((folder / "manifest.json").read_text())
    for target, setting in NEEDED_SETTINGS.items():
        write_json(folder / "manifest.json", manifest | {"target": target, "execution": {}})
        with pytest.raises(ArtifactError, match=rf"manifest\.json lacks execution\.{setting}, which {target} needs"):
            load(folder, trust_code=True)


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        ("onnxruntime", "session.optimized_model_filepath", "/tmp/anywhere.onnx"),
        ("openvino", "CACHE_DIR", "/tmp/anywhere"),
        ("openvino", "INFERENCE_PRECISION_HINT", "undefined"),
        ("eager", "threads", "64"),
        ("executorch", "largest_batch", "0"),
        ("xla", "batch_sizes", "1,"),
    ],
)
def test_a_setting_that_no_compiler_here_makes_is_refused(target: str, name: str, value: str, compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / (target if target in TARGETS else "onnxruntime"), tmp_path / "foreign")
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | {"target": target, "execution": manifest["execution"] | {name: value}})
    with pytest.raises(ArtifactError, match=rf"sets execution\.{re.escape(name)}: {re.escape(repr(value))}, which slimline never does"):
        load(folder, trust_code=True)
    assert set(SETTINGS) == set(EVERY_TARGET)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_damaged_graph_with_good_checksums_is_one_clear_line(target: str, compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / target, tmp_path / "c")
    graph = next(path for path in folder.iterdir() if path.name in ("model.onnx", "model.xml"))
    graph.write_bytes(graph.read_bytes()[:100])
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | {"files": checksums(folder)})
    with pytest.raises(ArtifactError, match=f"{target} .* cannot load {graph.name}"):
        load(folder)


def test_a_plain_variant_runs_in_eager_pytorch(
    model: nn.Module, batch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = {"variant": "small", "stage": "distill", "method": "scratch", "config": {}, "source": None, "lineage": ("small",), "seed": 0}
    signature = samples(model, torch.zeros(2, 1, 8, 8))["signature"]
    save_variant(
        tmp_path / "v",
        model,
        Manifest(workload="digits", architecture=STUDENT, structure={}, signature=signature, objective=OBJECTIVE, **identity),
        WORKLOAD,
    )
    runtime = load(tmp_path / "v", threads=1)
    with torch.no_grad():
        assert np.array_equal(runtime.predict(batch), model(torch.from_numpy(batch)).numpy())
    assert runtime.execution == {"threads": "1", "precision": "float32"}
    path = tmp_path / "v/manifest.json"
    write_json(path, json.loads(path.read_text()) | {"workload": "nowhere"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkloadError, match="unknown 'nowhere'"):
        load(tmp_path / "v")


MINE = """
from pathlib import Path

from slimline.workloads.digits import Digits

(Path(__file__).parent / "imported").touch()


class Mine(Digits):
    name = "mine"
"""


@pytest.mark.parametrize("named", ["mine.py:Mine", "./mine.py:Mine", "{folder}/mine.py:Mine", "../v/mine.py:Mine", "mine:Mine", "mine"])
@pytest.mark.parametrize("kind", ["plain", "eager"])
def test_what_an_artifact_names_is_never_imported(
    kind: str, named: str, compiled: Path, model: nn.Module, batch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "v"
    if kind == "plain":
        identity = {"variant": "small", "stage": "distill", "method": "m", "config": {}, "source": None, "lineage": ("small",), "seed": 0}
        facts = {"signature": samples(model, torch.zeros(2, 1, 8, 8))["signature"], "objective": OBJECTIVE}
        save_variant(folder, model, Manifest(workload="mine", architecture=STUDENT, structure={}, **facts, **identity), WORKLOAD)
    else:
        copied(compiled / "eager", folder)
    (folder / "mine.py").write_text(MINE)
    (folder / "params.yaml").write_text("workload: mine.py:Mine\n")
    facts = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", facts | {"workload": named.format(folder=folder), "files": checksums(folder)})
    monkeypatch.chdir(folder)
    with pytest.raises(WorkloadError, match=r"only bundled workloads are imported \(digits, tabular\); name your own: --workload"):
        load(folder)
    assert not (folder / "imported").exists()
    (tmp_path / "own.py").write_text(MINE)
    runtime = load(folder, workload=f"{tmp_path}/own.py:Mine")
    with torch.no_grad():
        assert np.allclose(runtime.predict(batch), model(torch.from_numpy(batch)).numpy(), atol=1e-5)
    assert not (folder / "imported").exists()


def test_a_callers_own_workload_that_is_none_is_told_as_theirs(compiled: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"^workload: no file '.*none\.py'"):
        load(compiled / "eager", workload=f"{tmp_path}/none.py:Mine")


@pytest.mark.parametrize("target", TARGETS)
def test_a_graph_that_gives_something_else_than_its_manifest_says_is_refused(
    target: str, compiled: Path, batch: np.ndarray, tmp_path: Path
) -> None:
    folder = copied(compiled / target, tmp_path / "c")
    facts = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", facts | {"signature": facts["signature"] | {"outputs": ["one", "two"]}})
    with pytest.raises(ArtifactError, match="does not run as its manifest says: "):
        load(folder).predict(batch)
    (image,) = facts["signature"]["inputs"]
    write_json(folder / "manifest.json", facts | {"signature": facts["signature"] | {"inputs": [image | {"shape": [2, 8, 8]}]}})
    with pytest.raises(ArtifactError, match="does not run as its manifest says: "):
        load(folder).predict(np.zeros((1, 2, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shape": [-1, 8, 8]}, "greater than or equal to 0"),
        ({"shape": [1] * 9}, "at most 8 items"),
        ({"shape": [2**40]}, "less than or equal to"),
        ({"dtype": "object"}, "match pattern"),
        ({"varies": {"3": [2, 9]}}, "axis 3 of 'input' cannot vary"),
        ({"varies": {"1": [9, 2]}}, "axis 1 of 'input' cannot vary"),
        ({"name": "n" * 65}, "at most 64 characters"),
    ],
)
def test_a_signature_that_cannot_be_is_refused(wrong: dict[str, object], said: str, compiled: Path, tmp_path: Path) -> None:
    folder = copied(compiled / "onnxruntime", tmp_path / "c")
    facts = json.loads((folder / "manifest.json").read_text())
    image = facts["signature"]["inputs"][0] | {"name": "input"} | wrong
    write_json(folder / "manifest.json", facts | {"signature": facts["signature"] | {"inputs": [image]}})
    with pytest.raises(ArtifactError, match=said):
        load(folder)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({}, "is none of classification"),
        ({"name": "os:system"}, "'os:system' is none of classification"),
        ({"name": "classification", "labels": [1, 2]}, "valid string"),
        ({"name": "classification", "labels": ["a", "b"], "command": "x"}, "command"),
    ],
)
def test_an_objective_that_is_none_of_ours_is_never_made(objective: dict[str, object], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        objective_of(objective)


ALONE = """
import sys
calls = []
sys.addaudithook(lambda event, arguments: calls.append(arguments) if event == "socket.connect" else None)
import numpy as np
from slimline.params import TARGETS as EVERY_TARGET
from slimline.runtime import load
model = load(sys.argv[1])
logits = model.predict(np.zeros((3, 1, 8, 8), np.float32))
assert logits.shape == (3, 10)
assert len(model.reading.shown(model.reading.answers(logits)[0])) == 1
np.savez(sys.argv[2], **{model.signature.names[0]: np.zeros((3, 1, 8, 8), np.float32)})
from pathlib import Path
from slimline.commands.predict import predict
predict(sys.argv[1], Path(sys.argv[2]), workload=None, as_json=False, trust_code=False)
assert not calls, calls
heavy = {"torch", "pandas", "sklearn", "nncf", "boto3"} & sys.modules.keys()
assert not heavy, heavy
assert sys.modules.get("openvino_telemetry") is None
"""


DROPPED = """
import gc, signal, subprocess, sys
from slimline.runtime import load
signal.signal(signal.SIGCHLD, lambda *_: None)
first, second = load(sys.argv[1]), load(sys.argv[1])
del first
gc.collect()
del second
gc.collect()
subprocess.run(["sleep", "0.1"], check=True)
"""


@pytest.mark.parametrize("target", TARGETS)
def test_models_that_are_dropped_in_any_order_leave_a_process_that_can_take_signals(target: str, compiled: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DROPPED, str(compiled / target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)


def test_a_runtime_that_is_not_installed_is_named(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "slimline.loaders.openvino", raising=False)
    with pytest.raises(InputError, match=r"runs on openvino, which is not installed; pip install openvino"):
        load(compiled / "openvino")


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_no_torch_no_connection_and_no_telemetry(target: str, compiled: Path, project: Path, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry is native and slow to send: that it runs shows in the home folder, where it queues its events."""
    env = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    command = [sys.executable, "-c", ALONE, str(compiled / target), str(tmp_path.parent / f"{target}.npz")]
    env |= {"HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["0", "1", "2"]
    assert list(tmp_path.iterdir()) == []


def test_module_import_is_light(project: Path) -> None:
    code = "import sys, slimline.runtime; assert not {'torch', 'onnxruntime', 'openvino', 'boto3'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
