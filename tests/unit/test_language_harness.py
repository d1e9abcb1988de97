"""lm-evaluation-harness over a model of ours: log-likelihoods as torch computes them, tasks from local files alone, paired intervals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from tokenizers import processors

from slimline.data.windows import Windows
from slimline.errors import InputError, ParamsError
from slimline.generation.harness import HarnessModel, evaluated
from slimline.generation.harness_tasks import read_tasks
from slimline.params import Params
from slimline.report.harness import harness_page
from slimline.runtime import load
from tasks.harness import compared
from tests.generating_nets import compiled, language_net, windows

CHOICE: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
ROLLING = {
    **{name: CHOICE[name] for name in ("dataset_path", "test_split")},
    **{"task": "texts", "dataset_kwargs": {"data_files": "texts.csv"}, "output_type": "loglikelihood_rolling"},
    **{"doc_to_text": "", "doc_to_target": "{{text}}", "dataset_path": "csv"},
    "metric_list": [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
}


def task_folder(folder: Path, *tasks: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    questions = [f'{{"question": "{n} + 1 is", "choices": [" {n + 1}", " none"], "answer": {n % 2}}}' for n in range(8)]
    (folder / "sums.jsonl").write_text("\n".join(questions))
    (folder / "texts.csv").write_text("text\n" + "\n".join(f"def decode(part{n}): return {n}" for n in range(6)))
    for task in tasks:
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, HarnessModel]:
    net = language_net()
    folder = compiled(tmp_path_factory.mktemp("compiled") / "onnxruntime", "onnxruntime", net)
    model = load(folder)
    return net, HarnessModel(model.predict, model.generator, windows())


def test_what_begins_every_text_is_not_asked_for(judged: tuple[Any, HarnessModel]) -> None:
    """A tokenizer that puts a token before each text: its probability is no text's."""
    _, plain = judged
    reader = windows().reader.from_str(windows().reader.to_str())
    reader.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    begins = Windows.model_validate(windows().model_dump() | {"tokenizer": json.loads(reader.to_str())})
    assert begins.added == (1, 0)
    begun = HarnessModel(plain._predict, plain._generator, begins)
    for kind, arguments in (("loglikelihood_rolling", ("import re",)), ("loglikelihood", ("", "import re"))):
        found, wanted = (getattr(one, kind)([asked(kind, *arguments)]) for one in (begun, plain))
        assert np.allclose(found[0], wanted[0], atol=1e-5)


def asked(kind: str, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)  # type: ignore[arg-type]


def nats_by_torch(net: Any, known: list[int], told: list[int]) -> float:
    ids = torch.tensor([known + told])
    with torch.no_grad():
        logits = net(input_ids=ids, attention_mask=torch.ones_like(ids))[0].double().log_softmax(-1)
    return float(sum(logits[len(known) + place - 1, token] for place, token in enumerate(told)))


def test_log_likelihoods_are_those_of_the_net_in_whatever_order_they_are_asked(judged: tuple[Any, HarnessModel]) -> None:
    net, model = judged
    pairs = [("def decode(", "self):"), ("import ", "json"), ("", "return"), ("def ", "x"), ("class A", "(object):\n")]
    read = windows().reader
    found = model.loglikelihood([asked("loglikelihood", *pair) for pair in pairs])
    for (context, continuation), (nats, _) in zip(pairs, found, strict=True):
        context, continuation = (context.rstrip(), " " + continuation) if context.endswith(" ") else (context, continuation)
        whole, known = read.encode(context + continuation).ids, len(read.encode(context).ids)
        before, after = (whole[:known], whole[known:]) if context else ([0], whole)
        assert nats == pytest.approx(nats_by_torch(net, before, after), abs=1e-4)
    text = "def decode(self): " * 30  # longer than the context of 192 tokens: every token is told once all the same
    tokens = read.encode(text).ids
    assert len(tokens) > model._longest
    (rolled,) = model.loglikelihood_rolling([asked("loglikelihood_rolling", text)])
    first = nats_by_torch(net, [0], tokens[: model._longest - 1])
    assert rolled < first < 0


def test_what_greedy_decoding_writes_is_told_so_and_ends_where_the_task_says(judged: tuple[Any, HarnessModel]) -> None:
    _, model = judged
    (written,) = model.generate_until([asked("generate_until", "def decode(", {"until": [], "max_gen_toks": 6})])
    assert written
    (cut,) = model.generate_until([asked("generate_until", "def decode(", {"until": [written[1]], "max_gen_toks": 6})])
    assert cut == written[: written.index(written[1])]


def test_a_task_of_ones_own_is_compared_document_by_document(judged: tuple[Any, HarnessModel], tmp_path: Path) -> None:
    _, model = judged
    tasks = read_tasks(task_folder(tmp_path / "tasks", CHOICE, ROLLING))
    found = evaluated(model, tasks, limit=None, seed=0)
    worse = {
        **found,
        "samples": {name: [dict(row) for row in rows] for name, rows in found["samples"].items()},
        "results": dict(found["results"]),
    }
    for row in worse["samples"]["texts"]:
        nats, size = row["bits_per_byte"]
        row["bits_per_byte"] = (1.5 * nats - 0.01 * row["doc_id"], size)
    total, size = np.sum([row["bits_per_byte"] for row in worse["samples"]["texts"]], axis=0)
    worse["results"]["texts"] = {**found["results"]["texts"], "bits_per_byte,none": -total / size / np.log(2)}
    params = Params.parse({"workload": "causal-lm", "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}})
    rows = {row["task"]: row for row in compared(found, worse, params)}
    assert rows["sums"]["documents"] == 8
    assert rows["sums"]["worse_by"] == 0
    assert rows["sums"]["p_value"] == 1
    low, high = rows["texts"]["worse_ci"]
    assert 0 < low < rows["texts"]["worse_by"] < high
    facts = {"variant": "int4", "target": "onnxruntime", "confidence": 0.95, "limit": None, "harness": "0", "rows": list(rows.values())}
    assert harness_page(facts).summary[0] == "1 figure of 2 is shown to be worse than the teacher's: texts (bits_per_byte)."


BAD = {
    "process_results: is refused here": {"process_results": "code"},
    "dataset_path: 'allenai/c4'; nothing is fetched": {"dataset_path": "allenai/c4"},
    "no file '../sums.jsonl'": {"dataset_kwargs": {"data_files": {"test": "../sums.jsonl"}}},
    "neither names one of the splits": {"test_split": "train"},
}


@pytest.mark.parametrize(("said", "change"), BAD.items())
def test_what_runs_code_or_fetches_is_refused_and_all_is_told_at_once(said: str, change: dict[str, Any], tmp_path: Path) -> None:
    folder = task_folder(tmp_path / "tasks", CHOICE | change)
    (folder / "code.yaml").write_text("task: code\ndoc_to_text: !function utils.text\n")
    with pytest.raises(ParamsError) as caught:
        read_tasks(folder)
    assert len(caught.value.problems) == 2
    assert "the tag '!function' is not allowed" in caught.value.problems[0]
    assert said in caught.value.problems[1]


def test_a_data_file_that_is_none_is_one_line(tmp_path: Path, judged: tuple[Any, HarnessModel]) -> None:
    folder = task_folder(tmp_path / "tasks", CHOICE)
    (folder / "sums.jsonl").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"sums\.jsonl: is not readable as json: it holds no objects"):
        evaluated(judged[1], read_tasks(folder), limit=None, seed=0)
