"""Stage `distill`, run as DVC runs it: variants that learn as they are, students cut out of the teacher, and what the teacher was worth."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.artifact.folder import sha256_of
from slimline.artifact.variant import load_variant
from slimline.artifact.weights import read_weights, write_weights
from slimline.calibration.trials import REFUSED, Trials
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.methods.quantize.simulate import simulate
from slimline.params import Params
from slimline.stage import stage_main
from slimline.training.fit import predict
from slimline.workloads import get_workload
from slimline.workloads.guarded import Guarded
from tasks import calibrate, compile, distill, prune, quantize, teach, teacher
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
STAGES = {"prune": prune, "quantize": quantize, "distill": distill}
BUDGET = {"epochs": 6, "batch_size": 32}
SOFT = {"method": "soft_targets", **BUDGET}
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 10, "batch_size": 32},
    "calibrate": {"samples": 60, "batch_size": 30, "sensitivity_samples": 0, "draws": 1},
    "prune": {"sparse": {"source": "teacher", "method": "magnitude", "fraction": 0.8, "recover": {"epochs": 0}}},
    "quantize": {"int8": {"source": "teacher", "method": "static"}},
    "distill": {
        "cut": {
            **SOFT,
            "source": "teacher",
            "student": {"width": 0.25},
            "label_shares": [0.2, 1],
            "synthetic": {"kind": "neighbours", "samples": 64},
        },
        "sparse-taught": {**SOFT, "source": "sparse", "student": {"variant": "sparse"}, "controls": []},
        "plain": {**SOFT, "source": "teacher", "student": {"width": 0.5}, "controls": []},
        "int8-taught": {**SOFT, "source": "int8", "student": {"variant": "int8"}, "controls": ["steps"], "learning_rate": 0.0005},
    },
    "teach": {"teacher": {}},
    "deploy": {"variants": ["teacher", "int8-taught"], "targets": ["onnxruntime"]},
}
MADE = ("prune@sparse", "quantize@int8", "distill@cut", "distill@sparse-taught", "distill@int8-taught")


@pytest.fixture(scope="module", autouse=True)
def _made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A project folder in which every variant of MADE has been made; the tests run in it."""
    folder = tmp_path_factory.mktemp("taught")
    prepare_project(folder, project, PARAMS, WORKLOAD)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_main("teacher", teacher.main, None, [])
        stage_main("calibrate", calibrate.main, None, [])
        for name in MADE:
            stage, _, variant = name.partition("@")
            stage_main(stage, STAGES[stage].main, None, ["--variant", variant], per="variant")
        yield
    torch.use_deterministic_algorithms(deterministic)


def read(variant: str) -> dict[str, Any]:
    return json.loads(Path(f"reports/metrics/distill/{variant}.json").read_text())


def page(variant: str) -> str:
    return Path(f"reports/stages/distill/{variant}.md").read_text()


def test_a_student_cut_out_of_its_teacher_is_stored_as_an_edit_of_it_and_begins_with_its_weights() -> None:
    whole, cut = (load_variant(Path("data/models") / name, WORKLOAD) for name in ("teacher", "cut"))
    assert cut.manifest.architecture.role == "teacher"
    assert cut.manifest.structure
    layers = [layer for layer in cut.model.modules() if isinstance(layer, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == [128, 128, 64, 2]
    assert sum(value.numel() for value in cut.model.parameters()) < sum(value.numel() for value in whole.model.parameters()) / 8


def test_the_page_says_what_the_teacher_was_worth_and_at_which_number_of_samples() -> None:
    found = read("cut")
    steps = {one["equal"]: one["steps"] for one in found["teacher_worth"]}
    assert steps["compute"] > steps["steps"] > 0
    assert all(one["ci"][0] <= one["worth"] <= one["ci"][1] for one in found["teacher_worth"])
    text = page("cut")
    assert text.count("Beside the same student on labels alone") == 1
    assert "at equal steps" in text
    assert "at equal compute" in text
    few, all_of_it = found["label_shares"]
    assert few["samples"] == round(0.2 * all_of_it["samples"])
    assert "What the teacher was worth, by the number of samples" in text
    equal = next(one for one in found["teacher_worth"] if one["equal"] == "steps")
    assert abs(all_of_it["student"] - equal["student"]) < 0.05


def test_a_pruned_student_keeps_its_zeros_and_learns() -> None:
    before, after = (load_variant(Path("data/models") / name, WORKLOAD).model.state_dict() for name in ("sparse", "sparse-taught"))
    weights = [name for name in before if name.endswith("weight") and before[name].dim() == 2 and (before[name] == 0).any()]
    assert weights
    assert all(bool((after[name][before[name] == 0] == 0).all()) for name in weights)
    assert any(not torch.equal(after[name], before[name]) for name in weights)
    assert "sparse learns on as it is" in page("sparse-taught")
    assert "from teacher at temperature" in page("sparse-taught")
    assert "teacher_worth" not in read("sparse-taught")


def test_a_quantized_student_keeps_its_plan_is_judged_by_it_and_compiles_to_int8() -> None:
    before, after = (load_variant(Path("data/models") / name, WORKLOAD) for name in ("int8", "int8-taught"))
    assert before.plan is not None
    assert after.plan is not None
    precisions = [[entry["precision"] for entry in plan["layers"].values()] for plan in (before.plan, after.plan)]
    assert precisions[0] == precisions[1]
    assert before.plan["layers"] != after.plan["layers"]
    twin, validation = simulate(after.model, after.plan, after.grids), load_split(WORKLOAD.samples, "validation")
    samples = head(validation, len(validation))
    right = (predict(twin, samples.inputs).argmax(1) == samples.targets).float().mean()
    assert read("int8-taught")["validation"]["accuracy"] == pytest.approx(float(right))
    assert read("int8-taught")["size_bytes"] < 0.3 * read("int8-taught")["baseline"]["size_bytes"]
    stage_main("compile", compile.main, None, ["--variant", "int8-taught", "--target", "onnxruntime"], per="pair")
    made = json.loads(Path("reports/metrics/compile/int8-taught-onnxruntime.json").read_text())
    assert made["precision"] == "int8"


def taught_again() -> str:
    """The checksum of the weights of a student that learns from the teacher's answers, made anew."""
    stage_main("distill", distill.main, None, ["--variant", "plain"], per="variant")
    return sha256_of(Path("data/models/plain/weights.safetensors"))


def test_answers_that_are_kept_give_the_same_student_and_stand_in_for_its_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    stage_main("teach", teach.main, None, ["--variant", "teacher"], per="variant")
    assert [path.stem for path in Path("data/taught/teacher").glob("*.safetensors")] == ["validation"], "training samples are augmented"
    shutil.rmtree("data/taught")
    monkeypatch.setattr(Guarded, "augmentation", None)
    asked, kept = taught_again(), Path("data/taught/teacher")
    stage_main("teach", teach.main, None, ["--variant", "teacher"], per="variant")
    try:
        rows = {split: len(load_split(WORKLOAD.samples, split)) for split in ("train", "validation")}
        answers = {split: read_weights(kept / f"{split}.safetensors") for split in rows}
        assert {split: [*found["."].shape] for split, found in answers.items()} == {split: [count, 2] for split, count in rows.items()}
        text = Path("reports/stages/teach/teacher.md").read_text()
        assert f"{rows['train']:,} samples of train and {rows['validation']:,} samples of validation are kept" in text
        assert taught_again() == asked
        assert "The answers of teacher for whole splits are those that the stage teach keeps." in page("plain")
        write_weights(kept / "train.safetensors", {".": -answers["train"]["."]})
        assert taught_again() != asked, "it is the kept answers that it learns from"
        manifest = json.loads((kept / "manifest.json").read_text())
        (kept / "manifest.json").write_text(json.dumps(manifest | {"of": "0" * 64}))
        assert taught_again() == asked, "answers of another teacher are no answers"
    finally:
        shutil.rmtree("data/taught")


def test_what_cannot_be_taught_is_refused_before_any_training() -> None:
    entries = {
        "maps": {**SOFT, "method": "attention_transfer"},
        "ranks": {**SOFT, "method": "dkd"},
        "texts": {**SOFT, "method": "sequence"},
        "shallow": {**SOFT, "student": {"depth": 0.5}},
        "named": {**SOFT, "method": "hints", "student_layers": ["nosuch"], "teacher_layers": ["1"]},
        "fits": {**SOFT, "method": "hints", "student": {"width": 0.5}, "synthetic": {"kind": "inverted"}},
        "chain": {**SOFT, "method": "assistant"},
    }
    asked = {name: {"source": "teacher", **entry} for name, entry in entries.items()}
    params = Params.parse({**PARAMS, "distill": asked, "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}})
    some = head(load_split(WORKLOAD.samples, "validation"), 4)
    trials = Trials(WORKLOAD, params, some, WORKLOAD.objective, "accuracy", lambda _architecture: ())
    said = {name: (trial.outcome, trial.said) for trial, name, _ in trials.of(list(entries), WORKLOAD.build_teacher().eval())}
    refused = {name: text for name, (outcome, text) in said.items() if outcome == REFUSED}
    assert set(refused) == set(entries) - {"fits", "chain"}, said
    for name, words in {
        "maps": "no layers inside both models give feature maps or sequences",
        "ranks": "of two there is one",
        "texts": "sequence is for language models",
        "shallow": "the model has no residual blocks",
        "named": "'nosuch' names no module of the student",
    }.items():
        assert words in refused[name]
