"""Tiny Hugging Face directories of random weights, as save_pretrained writes them, for tests of what reads them."""

import json
from pathlib import Path
from typing import Any

import torch

from slimline.workloads.huggingface import offline  # noqa: F401 - before transformers

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # isort: skip
from transformers import (  # isort: skip
    BertConfig,
    BertForSequenceClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "day", "warm", "sea", "rain", "soup", "cold", "it", "was", "the", "all", ",", ".")
WIDE = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
SQUARE = WIDE | {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2}
CROPPED = WIDE | {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def vit(folder: Path, labels: tuple[str, ...] = ("x", "y"), **more: Any) -> Path:
    """A ViT of 3 layers for pictures of 32 x 32."""
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    return _saved(
        folder, ViTForImageClassification, ViTConfig(**shape | more), labels, SQUARE | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )


def resnet(folder: Path, labels: tuple[str, ...] = ("x", "y")) -> Path:
    """A ResNet of two stages."""
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic")
    return _saved(folder, ResNetForImageClassification, config, labels, CROPPED | IMAGENET)


def convnext(folder: Path, labels: tuple[str, ...] = ("x", "y")) -> Path:
    """A ConvNeXT of two stages."""
    config = ConvNextConfig(hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)
    return _saved(folder, ConvNextForImageClassification, config, labels, CROPPED | IMAGENET)


def bert(folder: Path, labels: tuple[str, ...] = ("x", "y")) -> Path:
    """A BERT of 2 layers over WORDS, for 24 tokens at most."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 24}
    _saved(folder, BertForSequenceClassification, BertConfig(**shape, vocab_size=len(WORDS)), labels)
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    return folder


def llama(folder: Path, text: str, **more: Any) -> Path:
    """A Llama of 2 layers with a tokenizer learned from a text, a licence and a card."""
    from slimline.workloads.huggingface.windows import trained_windows

    learned = trained_windows([text], 300, 16, 64).tokenizer
    reader = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(learned)), eos_token="<|endoftext|>")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    config = LlamaConfig(**shape | {"vocab_size": len(reader), "max_position_embeddings": 64, "tie_word_embeddings": True} | more)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    reader.save_pretrained(folder)
    (folder / "LICENSE").write_text("Take it, and say where it came from.\n")
    return folder


def _saved(folder: Path, kind: Any, config: Any, labels: tuple[str, ...], processor: dict[str, Any] | None = None) -> Path:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: place for place, label in enumerate(labels)}
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
