"""`slimline serve` for language models: OpenAI's own client and curl get what the runtime writes, whole and piece by piece."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from slimline.errors import ArtifactError, InputError
from slimline.generation import Generation, Sampling
from slimline.generation.answers import Reader
from slimline.generation.eager import EagerNet
from slimline.generation.stepwise import Stepwise
from slimline.model import Model
from slimline.runtime import load
from slimline.serving.answering import Answering, Ask
from slimline.serving.batches import Batcher
from slimline.serving.refusals import FAILED, told
from slimline.workloads.huggingface.net import built
from tests.serving.batch import worked_on
from tests.serving.served import Served, serving
from tests.serving.small_releases import LLAMA, language, windows
from tests.waiting import eventually

NAME = "small-openvino"
GREEDY: dict[str, Any] = {"model": NAME, "temperature": 0, "max_tokens": 24}
PROMPTS = [f"def function_{number}(value):\n    return" for number in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language(tmp_path_factory.mktemp("served") / "language")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with serving(folder, "--max-tokens", "200") as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def stepwise() -> Stepwise:
    torch.manual_seed(0)
    net: Any = built({"task": "causal-lm", "config": LLAMA}).eval()
    return Stepwise(EagerNet(net.body), Reader(windows(), 400, 256))


def test_many_clients_get_what_the_runtime_writes_to_one(client: openai.OpenAI, model: Model, server: Served) -> None:
    expected = [model.generate(prompt, Sampling(max_new_tokens=24)) for prompt in PROMPTS]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda prompt: client.completions.create(prompt=prompt, **GREEDY), PROMPTS))
    assert [one.choices[0].text for one in found] == [one.text for one in expected]
    assert [one.choices[0].finish_reason for one in found] == [one.finish_reason for one in expected]
    assert [one.usage and one.usage.completion_tokens for one in found] == [len(one.tokens) for one in expected]
    assert figure(server, "slimline_batch_size_sum") > figure(server, "slimline_batch_size_count"), "nothing was worked on together"


def test_a_stream_is_the_answer_in_pieces(client: openai.OpenAI, model: Model) -> None:
    asked = {"prompt": [*PROMPTS[:2], "the sea"], "stream": True, "stream_options": {"include_usage": True}}
    events = list(client.completions.create(**GREEDY | asked))
    for number, prompt in enumerate(asked["prompt"]):
        mine = [event.choices[0] for event in events if event.choices and event.choices[0].index == number]
        expected = model.generate(prompt, Sampling(max_new_tokens=24))
        assert "".join(choice.text for choice in mine) == expected.text
        assert [choice.finish_reason for choice in mine if choice.finish_reason] == [expected.finish_reason]
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == sum(
        len(model.generate(one, Sampling(max_new_tokens=24)).tokens) for one in asked["prompt"]
    )


def test_a_chat_goes_through_the_template(client: openai.OpenAI, model: Model) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "fine day"}]
    prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nfine day<|im_end|>\n<|im_start|>assistant\n"
    expected = model.generate(prompt, Sampling(max_new_tokens=24))
    whole = client.chat.completions.create(messages=messages, **GREEDY)
    assert whole.choices[0].message.content == expected.text
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == expected.prompt_tokens
    events = list(client.chat.completions.create(messages=messages, stream=True, **GREEDY))
    assert [event.choices[0].delta.role for event in events[:2]] == ["assistant", None]
    assert "".join(event.choices[0].delta.content or "" for event in events) == expected.text


def test_curl_reads_the_events(server: Served, model: Model) -> None:
    body = json.dumps({"prompt": "the sea", "max_tokens": 8, "temperature": 0, "stream": True})
    command = ["curl", "-sSN", f"{server.url}/v1/completions", "-H", "content-type: application/json", "-d", body]
    events = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    texts = [json.loads(event.removeprefix("data: "))["choices"][0]["text"] for event in events[:-2]]
    assert "".join(texts) == model.generate("the sea", Sampling(max_new_tokens=8)).text


def test_stop_and_seed(client: openai.OpenAI, model: Model) -> None:
    text = model.generate(PROMPTS[3], Sampling(max_new_tokens=24)).text
    stop = text[8:10]
    found = client.completions.create(prompt=PROMPTS[3], stop=[stop], **GREEDY).choices[0]
    assert (found.text, found.finish_reason) == (text[: text.index(stop)], "stop")
    warm = {"prompt": PROMPTS[4], "model": NAME, "temperature": 1.0, "top_p": 0.9, "max_tokens": 16}
    drawn = [client.completions.create(seed=seed, **warm).choices[0].text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_answer_that_would_come_again_is_kept(client: openai.OpenAI, server: Served) -> None:
    before = [figure(server, f'slimline_output_cache_total{{result="{result}"}}') for result in ("hit", "miss")]
    texts = [client.completions.create(prompt="kept for later", **GREEDY).choices[0].text for _ in range(3)]
    client.completions.create(**GREEDY | {"prompt": "kept for later", "temperature": 1})
    after = [figure(server, f'slimline_output_cache_total{{result="{result}"}}') for result in ("hit", "miss")]
    assert len(set(texts)) == 1
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]


def figure(server: Served, name: str) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


@pytest.mark.parametrize(
    ("route", "body", "param", "words"),
    [
        ("completions", {"prompt": "a" * 2000}, "prompt", "the model reads 256 of prompt and answer"),
        ("completions", {"prompt": "a", "max_tokens": 256}, "max_tokens", "are more than the 256 that the model reads; ask for 255"),
        ("completions", {"prompt": "a", "max_tokens": 201}, "max_tokens", "this server gives at most 200"),
        ("completions", {"prompt": [1, 2, 9999]}, None, "prompt: token 9999 is none of the model's 400"),
        ("completions", {"prompt": [1, 2, 9999], "stream": True}, None, "prompt: token 9999 is none of the model's 400"),
        ("completions", {"prompt": []}, "prompt", "at least 1 item"),
        ("completions", {"prompt": "a", "temperature": 3}, "temperature", "less than or equal to 2"),
        ("completions", {"prompt": "a", "n": 2}, "n", "Input should be 1"),
        ("completions", {"prompt": "a", "logprobs": 5}, "logprobs", "Input should be None"),
        ("completions", {"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options", "only with stream: true"),
        ("completions", {"prompt": "a", "tools": []}, "tools", "unknown field 'tools'"),
        ("chat/completions", {"messages": []}, "messages", "at least 1 item"),
        (
            "chat/completions",
            {"messages": [{"role": "tool", "content": "a"}]},
            "messages.0.role",
            "'system', 'developer', 'user' or 'assistant'",
        ),
        ("chat/completions", {"prompt": "a"}, "messages", "Field required"),
    ],
)
def test_what_cannot_be_asked(server: Served, route: str, body: dict[str, Any], param: str | None, words: str) -> None:
    answer = server.post(f"/v1/{route}", body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert words in error["message"]
    assert error["param"] == param


def test_a_prompt_that_the_model_does_not_know_is_never_queued(server: Served) -> None:
    before = figure(server, "slimline_batch_size_count")
    answer = server.post("/v1/completions", {"prompt": [[5, 6], [5, 400]], "max_tokens": 2})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "prompt: token 400 is none of the model's 400 (0 to 399)")
    assert figure(server, "slimline_batch_size_count") == before


@pytest.mark.parametrize(("token", "place"), [(400, 1), (-1, 0)])
def test_predict_takes_tokens_of_the_model_alone(server: Served, token: int, place: int) -> None:
    tokens = [[5, 6, 7], [5, 6, 7]]
    tokens[1][place] = token
    answer = server.post("/predict", {"inputs": {"input_ids": tokens, "attention_mask": [[1, 1, 1]] * 2}})
    told = f"input 'input_ids': sample 1 holds {token} at place {place}; give tokens of the model's 400 (0 to 399)"
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)


@pytest.mark.parametrize("temperature", [1e-7, 1e-50, 1e-310])
def test_a_temperature_next_to_nothing_is_none(server: Served, model: Model, temperature: float) -> None:
    answer = server.post("/v1/completions", {"prompt": "the sea", "max_tokens": 8, "temperature": temperature})
    assert answer.json()["choices"][0]["text"] == model.generate("the sea", Sampling(max_new_tokens=8)).text


def test_no_client_is_told_where_the_server_keeps_its_files() -> None:
    assert told(ArtifactError("/srv/models/a b: does not generate: out of memory")).detail == FAILED
    assert told(ArtifactError("the model gives no finite numbers for this")).detail == "the model gives no finite numbers for this"


def test_a_reader_that_goes_away_stops_its_answer(server: Served) -> None:
    body = {"prompt": "the sea", "max_tokens": 200, "stream": True, "seed": 3}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body) as answer:
        next(answer.iter_lines())
    assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 2}).status_code == 200
    assert eventually(lambda: httpx.get(f"{server.url}/health").json()["in_flight"] == 0)


def test_a_job_that_is_given_up_ends_at_its_next_token(stepwise: Stepwise) -> None:
    async def stopped() -> Generation:
        batcher = Batcher(Answering(stepwise), 8, 0.001, 8)
        pieces, here = list[str](), threading.Event()

        def heard(piece: str) -> bool:
            pieces.append(piece)
            assert here.wait(60)
            job.given_up = len(pieces) == 3
            return False

        job = batcher.submitted(Ask((5, 6, 7), Sampling(max_new_tokens=200), heard))
        here.set()
        found = await job.future
        batcher.close()
        return found.generation

    assert len(asyncio.run(stopped()).tokens) < 20


def test_only_the_faulty_one_of_a_batch_fails(stepwise: Stepwise) -> None:
    sampling = Sampling(max_new_tokens=8)
    first, refused, last = worked_on(Answering(stepwise), [Ask(one, sampling) for one in ((5, 6), (5, 400), (7,))])
    assert isinstance(refused, InputError)
    assert [one.generation.tokens for one in (first, last)] == [stepwise.generate(one, sampling).tokens for one in ((5, 6), (7,))]


def test_an_engine_that_takes_one_at_a_time_is_given_batches(stepwise: Stepwise) -> None:
    sizes: list[float] = []
    sampling = Sampling(max_new_tokens=16)
    prompts = [tuple(range(3, 5 + number)) for number in range(7)]

    async def together() -> list[str]:
        batcher = Batcher(Answering(stepwise), 4, 0.05, 8, observe=sizes.append)
        found = await asyncio.gather(*(batcher.answer(Ask(prompt, sampling)) for prompt in prompts))
        batcher.close()
        return [one.generation.text for one in found]

    assert asyncio.run(together()) == [stepwise.generate(prompt, sampling).text for prompt in prompts]
    assert sum(sizes) == 7
    assert max(sizes) == 4
