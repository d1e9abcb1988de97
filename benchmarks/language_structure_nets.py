"""Text, tokenizer and teacher for benchmarks/language_structure.py: a small Llama trained on the standard library's source."""

import json
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from slimline.data.samples import Samples
from slimline.data.windows import Window, Windows
from slimline.objectives.causal_lm import CausalLM
from slimline.params import Training
from slimline.training.data import TrainingData
from slimline.workloads.huggingface.net import built

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # isort: skip

LENGTH, VOCABULARY = 128, 2048
NET: dict[str, Any] = {
    "task": "causal-lm",
    "config": {
        "model_type": "llama",
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2 * LENGTH,
        "tie_word_embeddings": True,
    },
}
LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "encodings", "site-packages", "pydoc_data", "__pycache__")
HELD_OUT = {"validation": 3, "test": 7}
"""Of eleven files in turn, which one is of a split that is not trained on."""


def files() -> dict[str, list[str]]:
    """The texts of each split, by whole files."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in root.rglob("*.py") if not set(path.relative_to(root).parts) & set(LEFT_OUT))
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in paths]
    found = {name: [text for place, text in enumerate(texts) if place % 11 == rest] for name, rest in HELD_OUT.items()}
    return found | {"train": [text for place, text in enumerate(texts) if place % 11 not in HELD_OUT.values()]}


def tokenizer_of(texts: Sequence[str]) -> dict[str, Any]:
    """A byte-level BPE of VOCABULARY tokens, as tokenizer.json holds it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=letters, special_tokens=["<|end|>"], show_progress=False)
    )
    plain: dict[str, Any] = json.loads(made.to_str())
    return plain


def samples_of(windows: Windows, texts: Sequence[str], most: int | None = None) -> Samples:
    """All windows of some texts, or so many at even distances."""
    found: list[tuple[int, Window]] = [(number, one) for number, text in enumerate(texts) for one in windows.cut(text)]
    found = [entry for entry in found if len(entry[1].tokens) == LENGTH]
    found = found[:: max(1, len(found) // most)][:most] if most else found
    rows = {"tokens": [one.tokens for _, one in found], "label": [[one.asked, one.size_bytes, number] for number, one in found]}
    inputs, targets = windows(rows), windows.targets(rows)
    return Samples({k: torch.from_numpy(v) for k, v in inputs.items()}, {k: torch.from_numpy(v) for k, v in targets.items()})


def prepared(test_windows: int = 160) -> tuple[Windows, TrainingData, Samples]:
    """The preprocessing, what trainings are given, and the test split."""
    texts = files()
    windows = Windows(tokenizer=tokenizer_of(texts["train"]), window=LENGTH, longest=2 * LENGTH, pad_id=0)
    train, validation = samples_of(windows, texts["train"]), samples_of(windows, texts["validation"], 64)
    data = TrainingData(train=train, validation=validation, objective=CausalLM(), metric="bits_per_byte")
    return windows, data, samples_of(windows, texts["test"], test_windows)


def teacher_of(data: TrainingData, folder: Path, seed: int, steps: int = 600) -> nn.Module:
    """The net trained by a seed, from `folder` where it was trained before."""
    torch.manual_seed(seed)
    net, path = built(NET), folder / f"teacher-{seed}.safetensors"
    if path.is_file():
        values = load_file(path)
        net.load_state_dict(values | {"body.lm_head.weight": values["body.model.embed_tokens.weight"]})
        return net.eval()
    config = Training(epochs=2, steps=steps, batch_size=16, learning_rate=3e-3, precision="bfloat16")
    net, _ = data.fitted(net, config, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value for name, value in net.state_dict().items() if name != "body.lm_head.weight"}, path)
    return net
