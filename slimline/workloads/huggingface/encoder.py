"""`text` without a target: what is asked of a smaller encoder is to point where the directory's own vectors point."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from slimline.data.table import Source, Table
from slimline.data.tokens import Tokens
from slimline.errors import DataError
from slimline.objectives.described import described
from slimline.objectives.embedding import embedding
from slimline.params import DataParams, ModelParams
from slimline.training.fit import predict
from slimline.workloads.facts import Facts
from slimline.workloads.huggingface.directory import CONFIG, carried, located, read_config, weight_kinds
from slimline.workloads.huggingface.facts import LOOKED_AT, pooling_of
from slimline.workloads.huggingface.net import as_plain, built, parsed, require_accounted, sketched
from slimline.workloads.huggingface.tokenizer import tokens_of
from slimline.workloads.huggingface.weights import start_from_
from slimline.workloads.records import LABEL, TableFound, content_of, pieces
from slimline.workloads.table import SPLITS, cut_rows

TOGETHER = 32
"""Texts that the encoder reads at a time."""


class EncoderDoor:
    """The door `text` of an encoder; each text's `label` is the vector that the directory's encoder gives for it, as it is."""

    def __init__(self, options: DataParams, model: ModelParams) -> None:
        self.options, self.folder = options, located(model.architecture)
        config = parsed(read_config(self.folder), model.config, str(self.folder / CONFIG))
        self.net = {"config": as_plain(config), "task": "encoder", "pooling": pooling_of(self.folder)}
        require_accounted(sketched(self.net), weight_kinds(self.folder), str(self.folder))
        self.found = find_unlabelled(options)
        column = str(options.text)
        some = [text for text in next(pieces(self.found.path))[column].head(LOOKED_AT) if isinstance(text, str)]
        self.tokens = tokens_of(self.folder, column, sketched(self.net), some)

    def splits(self, seed: int) -> Mapping[str, Source]:
        """The texts of each split with their vectors; equal texts stand in one split."""
        encoder = built(self.net)
        start_from_(encoder, self.net, self.folder, ())
        where = cut_rows(self.found, self.options, seed)
        return {split: _rows(self.found, self.tokens, encoder.eval(), where == place) for place, split in enumerate(SPLITS)}

    def facts(self, train: Table) -> Facts:
        """The directory's own preprocessing, and its config."""
        width = int(train.rows(slice(0, 1))[LABEL].shape[1])
        found = {"rows": self.found.rows, "task": "embedding"}
        return Facts(
            preprocessing=self.tokens,
            objective=described(embedding()),
            outputs=width,
            found=found,
            net=self.net,
            carried=carried(self.folder),
        )


def find_unlabelled(options: DataParams) -> TableFound:
    """A table of which the texts alone count.

    Raises:
        DataError: no text was named, or the table cannot be read.
    """
    path, contents = Path(options.path), list[str]()
    for piece in pieces(path):
        names = [str(name) for name in piece.columns]
        if options.text not in names:
            raise DataError(f"params.yaml: data.text: {options.text!r} is no column of {path}; it has: {', '.join(names)}")
        contents += content_of(piece[[options.text]])
    if not contents:
        raise DataError(f"{path}: holds no row")
    return TableFound(path, "", "regression", (), (), np.zeros(len(contents)), np.array(contents))


def _rows(found: TableFound, tokens: Tokens, encoder: nn.Module, mine: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    start = 0
    for piece in pieces(found.path):
        texts = [text if isinstance(text, str) else "" for text in piece[tokens.column].to_numpy()[mine[start : start + len(piece)]]]
        for first in range(0, len(texts), TOGETHER):
            group = texts[first : first + TOGETHER]
            yield from ({tokens.column: text, LABEL: vector} for text, vector in zip(group, _vectors(encoder, tokens, group), strict=True))
        start += len(piece)


def _vectors(encoder: nn.Module, tokens: Tokens, texts: Sequence[str]) -> NDArray[np.float32]:
    inputs = {name: torch.from_numpy(values) for name, values in tokens({tokens.column: list(texts)}).items()}
    given = predict(encoder, inputs, TOGETHER)
    assert isinstance(given, torch.Tensor)
    vectors: NDArray[np.float32] = given.numpy()
    return vectors
