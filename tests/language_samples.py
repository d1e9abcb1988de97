"""Small language models and encoders of transformers, with weights that have outliers, and the samples that methods read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.objectives.causal_lm import causal_lm
from slimline.workloads.huggingface.net import built
from tests.onnx_sessions import exact_session

WORDS, TOKENS = 1200, 24
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "max_position_embeddings": 64,
}
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": WORDS,
}


def llama(*, tied: bool = True, **changes: Any) -> nn.Module:
    """A language model whose norms have outliers; its matrices are three times as large as they start: else blocks do nothing."""
    torch.manual_seed(0)
    net = built({"task": "causal-lm", "config": LLAMA | {"tie_word_embeddings": tied} | changes}, {}).eval()
    with torch.no_grad():
        for value in {id(one): one for one in net.parameters() if one.dim() == 2}.values():
            value.mul_(3)
        for name, value in net.named_parameters():
            if name.endswith("layernorm.weight"):
                value[::16] = 6.0
    return net


def bert() -> nn.Module:
    """An encoder that normalises behind each sum."""
    torch.manual_seed(0)
    config = {"config": BERT, "task": "embedding", "pooling": {"mode": "mean", "normalised": False}}
    return built(config, {}).eval()


def text(samples: int = 8, *, seed: int = 1) -> dict[str, Tensor]:
    """Tokens by chance, half of them of a few: [samples, 24]."""
    generator = torch.Generator().manual_seed(seed)
    rare = torch.randint(WORDS, (samples, TOKENS), generator=generator)
    common = torch.randint(40, (samples, TOKENS), generator=generator)
    ids = torch.where(torch.rand(samples, TOKENS, generator=generator) < 0.5, rare, common)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def language_data(inputs: Batch) -> MethodData:
    """What a stage hands to a method."""
    ids = inputs["input_ids"]
    targets = {"tokens": ids, "bytes": torch.full((len(ids),), 3 * TOKENS), "document": torch.arange(len(ids))}
    samples = Samples(inputs, targets)
    return MethodData(
        calibration=inputs,
        example={name: value[:2] for name, value in inputs.items()},
        train=samples,
        validation=samples,
        objective=causal_lm(),
        metric="bits_per_byte",
        collect=lambda model: collect_statistics(model, inputs, 4),
    )


def run_compiled(target: str, folder: Path, execution: Mapping[str, str], inputs: Batch) -> Tensor:
    """What a folder's graph gives on onnxruntime or openvino, its first output alone."""
    given = {name: value.numpy() for name, value in inputs.items()}
    if target == "onnxruntime":
        session = exact_session(folder / "model.onnx")
        return torch.from_numpy(np.asarray(session.run(None, given)[0]))
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU", dict(execution))
    return torch.from_numpy(np.array(next(iter(compiled(given).values()))))
