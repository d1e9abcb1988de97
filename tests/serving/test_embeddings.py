"""`slimline serve` for texts' vectors, asked with OpenAI's own client: together as one by one, and never wrong for the company."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from slimline.model import Model
from slimline.runtime import load
from slimline.serving.batch_trial import neighbours_matter
from tests.serving.served import Served, serving
from tests.serving.small_releases import WORDS, close, texts

NAME = "small-openvino"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts(tmp_path_factory.mktemp("served") / "texts")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with serving(folder) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def vector(model: Model, text: str) -> np.ndarray:
    assert model.preprocessing is not None
    found = model.predict(model.preprocessing({"text": [text]}))
    assert isinstance(found, np.ndarray)
    return found[0]


def test_the_official_client_gets_the_vectors_of_the_runtime(client: openai.OpenAI, folder: Path) -> None:
    model = load(folder)
    for how in ("float", "base64"):
        found = client.embeddings.create(model=NAME, input=["fine , the soup", "a day"], encoding_format=how)
        assert found.usage.prompt_tokens == 6
        values = [
            np.frombuffer(__import__("base64").b64decode(one.embedding), "<f4") if how == "base64" else one.embedding for one in found.data
        ]
        assert close(values, [vector(model, "fine , the soup"), vector(model, "a day")])
    assert close(client.embeddings.create(model=NAME, input="a day").data[0].embedding, vector(model, "a day"))


def test_many_clients_get_what_one_would(client: openai.OpenAI, server: Served, folder: Path) -> None:
    model, draws = load(folder), np.random.default_rng(0)
    asked = [" ".join(draws.choice(WORDS, draws.integers(2, 40))) for _ in range(120)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda text: client.embeddings.create(model=NAME, input=text).data[0].embedding, asked))
    assert close(found, [vector(model, text) for text in asked])
    figures = dict(line.rsplit(" ", 1) for line in httpx.get(f"{server.url}/metrics").text.splitlines() if not line.startswith("#"))
    samples, batches = float(figures["slimline_batch_size_sum"]), float(figures["slimline_batch_size_count"])
    assert samples > 1.2 * batches, f"{samples} samples in {batches} batches: nothing was worked on together"


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"model": "gpt", "input": "a"}, openai.NotFoundError, "is not served here"),
        ({"model": NAME, "input": ""}, openai.BadRequestError, "at least 1 character"),
        ({"model": NAME, "input": []}, openai.BadRequestError, "at least 1 item"),
        ({"model": NAME, "input": [1, 2]}, openai.BadRequestError, "valid string"),
        ({"model": NAME, "input": ["a day"] * 129}, openai.BadRequestError, "one request takes 1 to 128"),
        ({"model": NAME, "input": "a day", "dimensions": 3}, openai.BadRequestError, "this model's vectors have 24"),
    ],
)
def test_what_cannot_be_embedded(client: openai.OpenAI, body: dict[str, object], error: type[openai.APIStatusError], words: str) -> None:
    with pytest.raises(error, match=words):
        client.embeddings.create(**body)  # type: ignore[arg-type]


def test_a_model_whose_answers_depend_on_the_batch_is_not_batched(tmp_path: Path, folder: Path) -> None:
    reads_filling = texts(tmp_path / "texts", reads_filling=True)
    moved = neighbours_matter(load(reads_filling))
    assert moved is not None
    assert moved > 0.01
    assert neighbours_matter(load(folder)) is None
    model, asked = load(reads_filling), ["a day", " ".join(WORDS * 2)] * 6
    with serving(reads_filling) as server:
        assert server.lines[0].startswith("batching is off: this model's answers depend on what else is in the batch")
        with ThreadPoolExecutor(6) as pool:
            answers = pool.map(lambda text: server.post("/predict", {"samples": [text], "outputs": True}).json()["outputs"][0], asked)
            assert close(list(answers), [vector(model, text) for text in asked])
