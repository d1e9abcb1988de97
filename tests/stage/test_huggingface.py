"""A net of a Hugging Face directory through the line: fine-tuned, compiled, and read without transformers."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from slimline.data.prepared import load_table
from slimline.stage import stage_main
from tests import huggingface_directories as made

TOLD = "import sys; sys.modules['transformers'] = sys.modules['huggingface_hub'] = None; from slimline.cli import main; main()"
PARAMS: dict[str, Any] = {
    "workload": "text",
    "data": {"path": "texts.csv", "text": "review", "target": "stars", "calibration_samples": 24},
    "model": {"architecture": "hf:bert", "path": "bert"},
    "teacher": {"source": "train", "epochs": 8, "batch_size": 16, "learning_rate": 0.003},
    "calibrate": {"samples": 24, "batch_size": 12},
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]},
}


def stage(name: str, *arguments: str, per: str = "stage") -> None:
    stage_main(name, import_module(f"tasks.{name}").main, None, list(arguments), per=per)


def project_with(folder: Path, project: Path, params: dict[str, Any]) -> None:
    """Texts of a few words, one of which is worth one star or five; a directory, params.yaml and the templates."""
    draw = np.random.default_rng(0)
    worth = {1: ("soup", "cold", "rain"), 5: ("fine", "warm", "sea")}
    rest = [word for word in made.WORDS[4:] if word not in worth[1] + worth[5]]
    stars = [(1, 5)[row % 2] for row in range(300)]
    rows = [draw.permutation([*draw.choice(worth[star], 2), *draw.choice(rest, draw.integers(1, 8))]) for star in stars]
    pd.DataFrame({"review": [" ".join(row) for row in rows], "stars": stars}).to_csv(folder / "texts.csv", index=False)
    made.bert(folder / "bert")
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(project / "reports/templates", folder / "reports/templates")


@pytest.mark.slow
def test_texts_are_learned_from_a_directory_and_predicted_without_transformers(in_folder: Path, project: Path) -> None:
    project_with(in_folder, project, PARAMS)
    stage("data")
    stage("teacher")
    page = (in_folder / "reports/stages/teacher/teacher.md").read_text()
    assert "It began with the weights of bert." in page
    assert "its classes are x, y there, and taken for 1, 5, in this order" in page
    metrics = json.loads((in_folder / "reports/metrics/teacher/teacher.json").read_text())
    assert metrics["validation"]["accuracy"] > 0.8
    shutil.rmtree(in_folder / "bert")
    stage("compile", "--variant", "teacher", "--target", "onnxruntime", per="pair")
    pd.DataFrame({"review": ["cold soup", "a fine warm day"]}).to_csv("new.csv", index=False)
    command = [sys.executable, "-c", TOLD, "predict", "data/compiled/teacher-onnxruntime", "--input", "new.csv", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"})
    assert [row["answer"] for row in json.loads(done.stdout)] == ["1", "5"]


def test_an_encoder_is_held_to_its_own_vectors(in_folder: Path, project: Path) -> None:
    data = {key: value for key, value in PARAMS["data"].items() if key != "target"}
    params = PARAMS | {"data": data, "teacher": {"source": "train", "epochs": 0}, "gate": {"metric": "cosine", "max_drop": 0.02}}
    project_with(in_folder, project, params)
    (in_folder / "bert/1_Pooling").mkdir()
    (in_folder / "bert/1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}))
    stage("data")
    vectors = load_table("test").rows(slice(0, 4))["label"]
    assert vectors.shape == (4, 32)
    stage("teacher")
    metrics = json.loads((in_folder / "reports/metrics/teacher/teacher.json").read_text())
    assert metrics["validation"]["cosine"] == pytest.approx(1, abs=1e-5)
    assert metrics["training"]["epochs"] == 0
