"""A small language model through prune and distill as DVC runs them: narrower, told by its teacher, written back as a directory."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from slimline.artifact.variant import load_variant
from slimline.commands.export_gguf import export_gguf
from slimline.commands.export_hf import export_hf
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.stage import stage_main
from slimline.workloads import get_workload

from transformers import AutoModelForCausalLM, AutoTokenizer  # isort: skip

FEW = {"epochs": 1, "steps": 6, "batch_size": 4}
GUIDED = {"source": "teacher", "source_layers": [0, 3], "learning_rate": 0.001, **FEW}
PHRASES = (
    ("the sea", "a cold rain", "my soup", "this warm day", "an old ship"),
    ("takes", "was", "finds", "leaves", "hears"),
    ("all of it", "the harbour", "no one", "a long way", "its song", "more salt"),
)
PARAMS: dict[str, Any] = {
    "workload": "causal-lm",
    "data": {"path": "texts", "window": 48, "calibration_samples": 12, "test_fraction": 0.2, "validation_fraction": 0.1},
    "model": {"path": "texts"},
    "teacher": {"source": "train", "learning_rate": 0.003, "epochs": 1, "steps": 40, "batch_size": 4},
    "calibrate": {"samples": 8, "batch_size": 4},
    "prune": {
        "narrow": {
            "source": "teacher",
            "method": "heads",
            "criterion": "activation",
            "refit": True,
            "fraction": 0.5,
            "mlp_ratio": 0.5,
            "recover": {**FEW, "lora_rank": 4},
        }
    },
    "distill": {
        "short": {"method": "soft_targets", **GUIDED},
        "short-alone": {"method": "scratch", "control_of": "short", "equal": "compute", **GUIDED},
        "hidden": {"method": "hidden_states", **GUIDED},
        "told": {"method": "sequence", "texts": 6, "prompt_tokens": 8, **GUIDED},
    },
    "deploy": {"variants": ["teacher", "narrow", "short", "short-alone"], "targets": ["eager"]},
    "gate": {"metric": "bits_per_byte", "max_drop": 1.0},
}


def stage(name: str, *arguments: str, per: str = "stage") -> None:
    stage_main(name, import_module(f"tasks.{name}").main, None, list(arguments), per=per)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """Texts of sentences by chance, params.yaml, and what the stages data and teacher make."""
    found = tmp_path_factory.mktemp("language")
    (found / "texts").mkdir()
    draw = np.random.default_rng(0)
    for number in range(24):
        sentences = [f"{who} {does} {what}." for who, does, what in zip(*(draw.choice(words, 60) for words in PHRASES), strict=True)]
        (found / f"texts/{number}.txt").write_text(" ".join(sentences))
    (found / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (found / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(project / "reports/templates", found / "reports/templates")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        stage("data")
        stage("teacher")
    return found


def made(stage_name: str, variant: str) -> dict[str, Any]:
    stage(stage_name, "--variant", variant, per="variant")
    metrics: dict[str, Any] = json.loads(Path(f"reports/metrics/{stage_name}/{variant}.json").read_text())
    return metrics


def test_a_narrower_model_is_trained_on_and_written_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    metrics = made("prune", "narrow")
    assert metrics["heads"] == {f"body.model.layers.{number}.self_attn": [2, 1] for number in range(4)}
    assert metrics["recovered_parameters"] < 0.2 * metrics["parameters"] < 0.2 * metrics["baseline"]["parameters"]
    workload = get_workload("causal-lm")
    export_hf("narrow", Path("out"))
    config = json.loads(Path("out/config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["intermediate_size"]) == (3, 1, 256)
    some = head(load_split(workload.samples, "validation"), 2).inputs
    with torch.no_grad():
        wanted, found = (
            load_variant(Path("data/models/narrow"), workload).model(**some),
            AutoModelForCausalLM.from_pretrained("out")(**some),
        )
    assert torch.allclose(found.logits, wanted, atol=1e-4)
    assert json.loads(Path("out/generation_config.json").read_text())["eos_token_id"] == list(workload.preprocessing.ends)
    assert AutoTokenizer.from_pretrained("out")("def f(x):")["input_ids"] == workload.preprocessing.reader.encode("def f(x):").ids
    export_gguf("narrow", Path("out.gguf"), "F32")
    assert torch.allclose(AutoModelForCausalLM.from_pretrained(".", gguf_file="out.gguf")(**some).logits, wanted, atol=1e-4)
    capsys.readouterr()
    export_gguf("narrow", Path("small.gguf"), "Q8_0", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["bytes"]) == (str(Path("small.gguf").absolute()), Path("small.gguf").stat().st_size)
    theirs = AutoTokenizer.from_pretrained(".", gguf_file="out.gguf")
    assert theirs("def f(x):")["input_ids"] == workload.preprocessing.reader.encode("def f(x):").ids


@pytest.mark.slow
def test_students_are_layers_of_the_teacher_and_a_control_has_as_much_compute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    short, alone, hidden = (made("distill", name) for name in ("short", "short-alone", "hidden"))
    assert short["parameters"] == alone["parameters"] == hidden["parameters"] < short["baseline"]["parameters"]
    assert 6 < alone["steps"] < 12
    page = Path("reports/stages/distill/short-alone.md").read_text()
    assert f"It has {alone['steps']} steps, where short had 6 and its teacher" in page
    assert "Hidden states compared" in Path("reports/stages/distill/hidden.md").read_text()


def test_what_the_teacher_wrote_is_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = made("distill", "told")["written"]
    assert found["texts"] == 6
    assert 0 < found["distinct 1-grams"] <= 1
    assert "4-grams that stand in test" in Path("reports/stages/distill/told.md").read_text()
