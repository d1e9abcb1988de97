"""A language model of a Hugging Face directory through the line: trained on texts, compiled, evaluated beside the teacher, gone on from."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from slimline.errors import ArtifactError, DataError, InputError
from slimline.report.cache import read_cache
from slimline.runtime import load
from slimline.stage import stage_main
from tests import huggingface_directories as made

LINES = ("The sea was {} on day {}.", "On day {1} it rained, and the soup was {0}.", "Was day {1} {0}? It was, all of it.")
WORDS = ("warm", "cold", "fine")
PARAMS: dict[str, Any] = {
    "workload": "causal-lm",
    "data": {"path": "texts", "window": 16, "test_fraction": 0.1, "validation_fraction": 0.1, "calibration_samples": 16},
    "model": {"architecture": "hf:llama", "path": "llama"},
    "teacher": {"source": "train", "epochs": 1, "batch_size": 16, "learning_rate": 0.01},
    "calibrate": {"samples": 16, "batch_size": 8, "sensitivity_samples": 0},
    "quantize": {
        "int8": {"source": "teacher", "method": "weight_only", "bits": 8},
        "tokens": {"source": "teacher", "method": "smoothquant", "ranges": "per-token"},
    },
    "deploy": {"variants": ["teacher", "int8", "tokens"], "targets": ["onnxruntime", "openvino"]},
    "harness": {"int8-onnxruntime": {"variant": "int8", "target": "onnxruntime", "tasks": "tasks"}},
    "evaluate": {"batch_size": 8, "resamples": 200},
    "gate": {"metric": "bits_per_byte", "max_relative_drop": 0.05},
}
TASK = {
    "task": "sea",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "sea.json"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{beginning}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


def stage(name: str, *arguments: str, per: str = "stage") -> None:
    stage_main(name, import_module(f"tasks.{name}").main, None, list(arguments), per=per)


def metrics(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"reports/metrics/{name}.json").read_text())
    return found


def texts(folder: Path) -> str:
    folder.mkdir()
    written = []
    for document in range(30):
        lines = [LINES[(document + line) % 3].format(WORDS[(document * line) % 3], document * 40 + line) for line in range(40)]
        (folder / f"{document}.txt").write_text("\n".join(lines))
        written += lines
    return "\n".join(written)


@pytest.fixture
def line(in_folder: Path, project: Path) -> Path:
    made.llama(in_folder / "llama", texts(in_folder / "texts"))
    (in_folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    shutil.copytree(project / "reports/templates", in_folder / "reports/templates")
    (in_folder / "tasks").mkdir()
    (in_folder / "tasks/sea.yaml").write_text(yaml.safe_dump(TASK))
    said = [{"beginning": "The sea", "choices": [" was", f" {wrong}"], "answer": 0} for wrong in "abcdefghijkl"]
    (in_folder / "tasks/sea.json").write_text(json.dumps(said))
    return in_folder


@pytest.mark.slow
def test_from_texts_to_a_model_that_goes_on_from_a_prompt(line: Path) -> None:
    stage("data")
    stage("teacher")
    assert metrics("teacher/teacher")["validation"]["bits_per_byte"] < 3
    shutil.rmtree(line / "llama")
    stage("calibrate")
    stage("quantize", "--variant", "int8", per="variant")
    stage("compile", "--variant", "int8", "--target", "onnxruntime", per="pair")
    stage("evaluate", "--variant", "int8", "--target", "onnxruntime", per="pair")
    found = metrics("evaluate/int8-onnxruntime")
    assert abs(found["drop"]["value"]) < 0.05
    assert found["quality"]["next_token_agreement"]["value"] > 0.9
    assert 0 < found["quality"]["kl_divergence"]["value"] < 0.1
    assert len(found["generations"]) == 2  # the documents of the test split
    page = Path("reports/stages/evaluate/int8-onnxruntime.md").read_text()
    assert "Gone on from the same beginnings" in page
    folder = line / "data/compiled/int8-onnxruntime"
    assert (folder / "base_model_LICENSE").read_text().startswith("Take it")
    model = load(folder)
    written = model.generate("The sea was")
    assert written.text
    assert model.generate("The sea was").tokens == written.tokens
    with pytest.raises(InputError, match="prompt: is empty"):
        model.generate([])
    stage("quantize", "--variant", "tokens", per="variant")
    for target in ("onnxruntime", "openvino"):
        stage("compile", "--variant", "tokens", "--target", target, per="pair")
        stage("evaluate", "--variant", "tokens", "--target", target, per="pair")
        found = metrics(f"evaluate/tokens-{target}")
        assert abs(found["drop"]["value"]) < 0.05
        assert found["quality"]["next_token_agreement"]["value"] > 0.9
        assert load(line / f"data/compiled/tokens-{target}").generate("The sea was").text
    stage("cache", "--variant", "int8", "--target", "onnxruntime", per="pair")
    found = metrics("cache/int8-onnxruntime")
    (known,) = found["prefixes"].values()  # a context of 64 tokens has room for one beginning, and that for no block of the cache
    assert known["equal_answers"] == 1
    assert known["cached_tokens"] == 0
    assert found["outputs"]["hit_rate"] == 0.5
    assert found["outputs"]["hits_after_release_changed"] == 0
    row = read_cache(Path("reports/metrics"), "int8", "onnxruntime")
    assert row is not None
    assert row["output_cache"]["hit_ms"] < row["output_cache"]["answer_ms"]
    page = Path("reports/stages/cache/int8-onnxruntime.md").read_text()
    assert "too short for the prompt cache" in page
    assert "The output cache answers a prompt that was asked before" in page
    stage("compile", "--variant", "teacher", "--target", "onnxruntime", per="pair")
    stage("harness", "--variant", "int8", "--target", "onnxruntime", per="pair")
    (row,) = metrics("harness/int8-onnxruntime")["rows"]
    assert row["documents"] == 12
    assert row["variant"] > 0.9  # what the texts say of the sea is learned
    assert row["baseline_ci"][0] <= row["baseline"] <= row["baseline_ci"][1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": 128}, "data.window: 128, but the net of llama takes at most 64 tokens"),
        ({"path": "nowhere"}, "no folder or file nowhere"),
    ],
)
def test_what_cannot_be_is_told_by_the_stage_data(line: Path, change: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture) -> None:
    (line / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"data": PARAMS["data"] | change}))
    with pytest.raises(SystemExit) as ended:
        stage("data")
    assert ended.value.code == 2
    assert not (line / "data/prepared").exists()
    assert said in caplog.text


def test_a_directory_that_carries_a_pickle_or_asks_for_code_is_refused(line: Path) -> None:
    from slimline.workloads.huggingface.directory import read_config, weight_kinds

    config = json.loads((line / "llama/config.json").read_text())
    (line / "llama/config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "own.Net"}}))
    with pytest.raises(ArtifactError, match="asks for code from the directory, which is never run"):
        read_config(line / "llama")
    (line / "llama/model.safetensors").rename(line / "llama/pytorch_model.bin")
    with pytest.raises(ArtifactError, match="pickled weights"):
        weight_kinds(line / "llama")


def test_a_tokenizer_of_another_net_is_refused(line: Path) -> None:
    from slimline.params import Params
    from slimline.workloads.opened import door_of

    config = json.loads((line / "llama/config.json").read_text())
    made.llama(line / "small", "the soup was warm " * 400, vocab_size=280)
    (line / "small/config.json").write_text(json.dumps(config | {"vocab_size": 280}))
    shutil.copy(line / "llama/tokenizer.json", line / "small/tokenizer.json")
    params = Params.parse(PARAMS | {"model": {"architecture": "hf:small", "path": "small"}})
    with pytest.raises((ArtifactError, DataError), match="its tokenizer knows 300 tokens"):
        door_of("causal-lm", params.data, params.model).splits(0)  # type: ignore[union-attr]
