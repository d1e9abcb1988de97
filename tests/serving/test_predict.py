"""`slimline serve` for pictures and tables: the answers of the runtime, and a plain 4xx for what is none of its inputs."""

import base64
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from slimline.errors import ArtifactError
from slimline.model import Model
from slimline.runtime import load
from slimline.serving.predictions import Predictor
from slimline.serving.raw_inputs import Samples
from tests.serving.batch import worked_on
from tests.serving.served import MAIN, PROJECT, Served, serving
from tests.serving.small_releases import close, pictures, table


def encoded(colour: str, size: tuple[int, int] = (40, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def as_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("served") / "pictures")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with serving(folder, "--body-bytes", "1000000", "--samples", "8") as served:
        yield served


def test_a_machine_is_told_where_it_serves(folder: Path) -> None:
    command = [sys.executable, "-c", MAIN, "serve", str(folder), "--port", "0", "--threads", "1", "--json"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert httpx.get(f"{told['url']}/health").status_code == 200
            assert told.keys() == {"url", "name", "release", "batching"}
        finally:
            process.terminate()


def test_pictures_get_the_answers_of_the_runtime(server: Served, model: Model) -> None:
    colours = ["green", "blue", "red"]
    sent = [as_text(encoded("green")), {"image": as_text(encoded("blue"))}, {"image": "data:image/png;base64," + as_text(encoded("red"))}]
    answer = server.post("/predict", {"samples": sent, "outputs": True}).json()
    assert model.preprocessing is not None
    expected = model.predict(model.preprocessing({"image": [Image.open(io.BytesIO(encoded(colour))) for colour in colours]}))
    assert close(answer["outputs"], expected)
    assert [one["answer"] for one in answer["predictions"]] == colours
    assert [one["value"] for one in answer["predictions"]] == [1, 2, 0]
    assert close([one["confidence"] for one in answer["predictions"]], model.reading.confidence(expected))


def test_arrays_go_in_by_name(server: Served, model: Model) -> None:
    values = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    answer = server.post("/predict", {"inputs": {"pixels": values.tolist()}, "outputs": True, "model": "small-onnxruntime"}).json()
    assert close(answer["outputs"], model.predict(values))


def test_curl_sends_a_picture_as_it_is(server: Served, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(encoded("blue"))
    command = ["curl", "-sS", "--data-binary", f"@{tmp_path / 'p.png'}", "-H", "content-type: image/png", f"{server.url}/predict/picture"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert said["predictions"][0]["answer"] == "blue"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "give either inputs"),
        ({"samples": []}, 400, "samples: 0 samples; one request takes 1 to 8"),
        ({"samples": ["x"] * 9}, 400, "9 samples"),
        ({"samples": ["!!"]}, 400, "samples.0.image: is no base64"),
        ({"samples": ["aGk="]}, 400, "samples.0.image: 2 bytes that are no picture"),
        ({"samples": [as_text(encoded("red", (8000, 8000)))]}, 400, "unpacks to 8000 x 8000 pixels"),
        ({"samples": [{"x": 1}]}, 400, "column 'image' is missing"),
        ({"samples": [3]}, 400, "samples.0.image: must be a picture's bytes in base64"),
        ({"inputs": {"pixels": [[1, 2], [3]]}}, 400, "inputs.pixels: is no array of numbers"),
        ({"inputs": {"pixels": [["a"]]}}, 400, "the model takes float32 [N, 3, 16, 16]"),
        ({"inputs": {"pixels": "a"}}, 400, "inputs.pixels: Input should be a valid list"),
        ({"inputs": {"other": [1]}}, 400, "the model takes pixels: float32 [N, 3, 16, 16]; given: other"),
        ({"samples": ["x"], "temperature": 1}, 400, "unknown field 'temperature'"),
        ({"samples": ["x"], "model": "gpt"}, 404, "the model 'gpt' is not served here; 'small-onnxruntime' is"),
    ],
)
def test_a_bad_body_is_told_in_openais_shape(server: Served, body: dict[str, Any], status: int, words: str) -> None:
    answer = server.post("/predict", body)
    error = answer.json()["error"]
    assert (answer.status_code, set(error)) == (status, {"message", "type", "param", "code"})
    assert words in error["message"]


def test_what_is_no_request_is_refused(server: Served) -> None:
    as_json = {"content-type": "application/json"}
    cases = [
        (httpx.post(f"{server.url}/predict", content='{"samples":', headers=as_json), 400, "the body is no JSON"),
        (httpx.post(f"{server.url}/predict", content="[" * 50_000, headers=as_json), 400, "parsing the body"),
        (httpx.post(f"{server.url}/predict", content='{"samples": []}'), 400, "sent with content-type: application/json"),
        (httpx.post(f"{server.url}/predict", content=b"x" * 1_000_001, headers=as_json), 413, "larger than 1,000,000 bytes"),
        (httpx.post(f"{server.url}/predict", content=iter([b"x" * 400_000] * 3), headers=as_json), 413, "larger than 1,000,000 bytes"),
        (httpx.get(f"{server.url}/predict"), 405, "there is no such route"),
        (httpx.get(f"{server.url}/nowhere"), 404, "/v1/embeddings"),
        (server.post("/v1/embeddings", {"input": "fine"}), 400, "this model answers classification, it gives no embeddings"),
        (server.post("/v1/completions", {"prompt": "fine"}), 400, "writes no text"),
    ]
    for answer, status, words in cases:
        assert answer.status_code == status, answer.text
        assert words in answer.json()["error"]["message"]


def test_models_health_and_metrics_tell_what_is_served(server: Served, model: Model) -> None:
    (listed,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert (listed["id"], listed["objective"], listed["samples"]) == ("small-onnxruntime", "classification", ["image"])
    assert listed == httpx.get(f"{server.url}/v1/models/small-onnxruntime").json()
    assert httpx.get(f"{server.url}/v1/models/gpt").status_code == 404
    assert httpx.get(f"{server.url}/health").json()["status"] == "ready"
    server.post("/predict", {"samples": [as_text(encoded("red"))]})
    figures = httpx.get(f"{server.url}/metrics").text
    assert 'slimline_requests_total{route="/predict",status="200"}' in figures
    assert 'slimline_requests_total{route="unmatched",status="404"}' in figures or "nowhere" not in figures
    assert f'release="{listed["release"]}"' in figures


def test_samples_that_the_model_refuses_fail_no_other_request(model: Model) -> None:
    def infer(arrays: Mapping[str, Any]) -> Any:
        if (arrays["pixels"] > 8).any():
            raise ValueError("too bright")
        return model.infer(arrays)

    given = [Samples({"pixels": np.full((1, 3, 16, 16), bright, np.float32)}) for bright in (0, 9, 1)]
    first, refused, last = worked_on(Predictor(dataclasses.replace(model, infer=infer), 4), given)
    assert isinstance(refused, ArtifactError)
    assert [len(first), len(last)] == [1, 1]


def test_the_log_has_a_line_a_request_and_nothing_of_it(server: Served) -> None:
    server.post("/predict", {"samples": ["c2VjcmV0IHNlY3JldA=="]})
    assert any(line.startswith("POST /predict 400 ") and line.endswith(" ms") for line in server.lines)
    assert not any("c2VjcmV0" in line for line in server.lines)


def test_a_tables_row(tmp_path: Path) -> None:
    folder = table(tmp_path / "table")
    model = load(folder)
    assert model.preprocessing is not None
    rows = [{"area": 50, "rooms": 2, "town": "A"}, {"area": None, "rooms": 4.5, "town": "Z", "more": "left alone"}]
    expected = model.predict(model.preprocessing({name: [row[name] for row in rows] for name in ("area", "rooms", "town")}))
    with serving(folder, "--name", "prices") as server:
        answer = server.post("/predict", {"model": "prices", "samples": rows}).json()["predictions"]
        wrong = server.post("/predict", {"samples": [{"area": "large", "rooms": 1, "town": "A"}]})
        picture = httpx.post(f"{server.url}/predict/picture", content=encoded("red"))
    assert close([one["value"] for one in answer], model.reading.answers(expected))
    assert answer[0]["answer"] == model.reading.shown(answer[0]["value"])
    assert (wrong.status_code, picture.status_code) == (400, 400)
    assert "could not convert string to float: 'large'" in wrong.json()["error"]["message"]
