"""Small real releases of every kind, compiled as the line compiles them: a table's, a picture's, one for texts' vectors, a writer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums, write_json
from slimline.artifact.manifest import write_manifest
from slimline.data.batch import take
from slimline.data.preprocessing import Category, Columns, Number, Pictures, Preprocessing, Texts
from slimline.data.signature import signature_of
from slimline.data.windows import Windows
from slimline.methods import get_generating, get_method
from slimline.model import PREPROCESSING
from slimline.objectives import Objective
from slimline.objectives.causal_lm import causal_lm
from slimline.objectives.classification import classification
from slimline.objectives.described import described
from slimline.objectives.embedding import embedding
from slimline.objectives.regression import regression
from slimline.training.fit import predict
from slimline.workloads.huggingface.net import built

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # isort: skip

WORDS = ("fine", "the", "soup", "was", "cold", ",", "and", "rain", "did", "not", "stop", "a", "warm", "day", "at", "sea", "it", ".")
COLOURS = ("red", "green", "blue")
Rows = dict[str, Any]


class Coloured(nn.Module):
    """Which channel of a picture is the brightest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, 16, 16] -> logits [N, 3]."""
        return self.head(functional.relu(self.conv(pixels)).mean((2, 3))) + 20 * pixels.mean((2, 3))


class Priced(nn.Module):
    """A number of a table's row."""

    def __init__(self) -> None:
        super().__init__()
        self.levels, self.head = nn.Embedding(4, 4), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """[N, 2], [N, 1] -> [N]."""
        return self.head(torch.cat([numbers, self.levels(categories).flatten(1)], 1)).squeeze(1)


class Worded(nn.Module):
    """The vector of a text: its words' mean, turned; what fills up is left out, or (`reads_filling`) is not."""

    def __init__(self, *, reads_filling: bool = False) -> None:
        super().__init__()
        self.words, self.turn, self.reads_filling = nn.Embedding(len(WORDS) + 2, 24), nn.Linear(24, 24), reads_filling

    def forward(self, ids: Tensor) -> Tensor:
        """[N, words] -> [N, 24]."""
        there = torch.ones_like(ids)[:, :, None].float() if self.reads_filling else (ids > 0)[:, :, None].float()
        return functional.normalize(self.turn((self.words(ids) * there).sum(1) / there.sum(1).clamp(min=1)), dim=1)


class Heavy(nn.Module):
    """The vector of a text, for which a core works some tenths of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.turn = nn.Embedding(len(WORDS) + 2, 1024), nn.Linear(1024, 1024)

    def forward(self, ids: Tensor) -> Tensor:
        """[N, words] -> [N, 1024]."""
        found = self.words(ids)
        for _ in range(100):
            found = torch.tanh(self.turn(found)) + found
        return found.mean(1)


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 400,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.3,
}
PICTURES = Pictures(column="image", height=16, width=16, mode="RGB", mean=(0.5, 0.5, 0.5), scale=(0.5, 0.5, 0.5))
TABLE = Columns(
    numbers=(Number(name="area", fill=50.0, mean=60.0, scale=20.0), Number(name="rooms", fill=2.0, mean=3.0, scale=1.0)),
    categories=(Category(name="town", levels=("A", "B")),),
)
TEXTS = Texts(column="text", vocabulary=WORDS, longest=64)


def pictures(folder: Path, target: str = "onnxruntime") -> Path:
    """Tells the colour of a picture."""
    rows = {"image": [Image.new("RGB", (16, 16), colour) for colour in COLOURS]}
    return release(folder, target, Coloured(), PICTURES, classification(COLOURS), [rows])


def table(folder: Path, target: str = "openvino") -> Path:
    """Tells a price from a row."""
    rows = {"area": [20.0, 90.0, 60.0], "rooms": [1, 5, 3], "town": ["A", "B", "C"]}
    return release(folder, target, Priced(), TABLE, regression("price", mean=200.0, scale=50.0), [rows])


def texts(folder: Path, target: str = "openvino", *, reads_filling: bool = False) -> Path:
    """Gives the vectors of texts."""
    seen = [{"text": ["fine", "a day"]}, {"text": [" ".join(WORDS * 4)] * 2}]
    return release(folder, target, Worded(reads_filling=reads_filling), TEXTS, embedding(), seen)


def heavy(folder: Path) -> Path:
    """Gives vectors slowly."""
    return release(folder, "openvino", Heavy(), TEXTS, embedding(), [{"text": ["fine", "a day"]}, {"text": [" ".join(WORDS * 4)] * 2}])


def windows(template: str | None = CHATML) -> Windows:
    """A byte-level tokenizer of 400 tokens, which ends answers at <|im_end|>."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), ["<|im_end|>", "<|im_start|>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([Path(__file__).read_text()], trainer)
    plain = json.loads(made.to_str())
    return Windows(tokenizer=plain, window=64, longest=256, pad_id=0, ends=(0,), chat_template=template)


def language(folder: Path, target: str = "openvino") -> Path:
    """Writes text, if no sense: a Llama of two layers with drawn weights."""
    torch.manual_seed(0)
    net = built({"task": "causal-lm", "config": LLAMA})
    return release(folder, target, net, windows(), causal_lm(), [{"text": ["fine", "a"]}, {"text": [" ".join(WORDS)] * 2}])


def release(
    folder: Path, target: str, net: nn.Module, preprocessing: Preprocessing, objective: Objective, seen: Sequence[Rows], **more: Any
) -> Path:
    """A compiled variant of an untrained net, as the stage `compile` leaves one."""
    folder.mkdir(parents=True)
    batches = [{name: torch.from_numpy(values) for name, values in preprocessing(rows).items()} for rows in seen]
    few = take(batches[0], slice(0, 2))
    signature = signature_of(batches, predict(net.eval(), few))
    plan = more.pop("plan", None)
    compiler = (get_generating(target) if isinstance(preprocessing, Windows) else None) or get_method("compile", target)
    lowered = compiler(net.eval(), plan, folder, example=few, calibration=batches[0], signature=signature, **more)
    write_json(folder / PREPROCESSING, preprocessing.model_dump(mode="json"))
    manifest = CompiledManifest(
        workload="own",
        variant="small",
        target=target,
        precision=lowered.precision,
        computes=lowered.computes,
        stage="distill",
        method="scratch",
        source=None,
        lineage=("small",),
        signature=signature,
        objective=described(objective),
        source_sha256="0" * 64,
        execution=lowered.execution,
        files=checksums(folder),
    )
    write_manifest(folder, manifest)
    return folder


def close(one: Any, other: Any) -> bool:
    """Whether numbers are equal but for rounding."""
    return bool(np.allclose(np.asarray(one), np.asarray(other), atol=1e-5))
