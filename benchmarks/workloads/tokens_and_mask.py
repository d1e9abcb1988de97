"""Token ids and a mask of any length: which part of Python's standard library a docstring is from, by a transformer."""

import ast
import sysconfig
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from slimline.data.columns import Rows
from slimline.data.preprocessing import words_of
from slimline.objectives.classification import classification
from slimline.workloads.cut import cut_table, student_setting

PARTS = {
    "windows": ("tkinter", "idlelib"),
    "network": ("http", "urllib", "email", "xmlrpc", "smtplib.py", "ftplib.py", "socketserver.py"),
    "parallel": ("asyncio", "multiprocessing", "concurrent", "threading.py"),
    "testing": ("unittest", "doctest.py", "pdb.py", "inspect.py"),
}
WORDS, LONGEST, LEAST = 2000, 48, 4


class Block(nn.Module):
    """Attention and a perceptron, each beside a shortcut, behind a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.behind = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """[N, tokens, width], and True [N, tokens] where there is no token -> [N, tokens, width]."""
        y = self.before(x)
        x = x + self.attend(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        found: Tensor = x + self.down(nn.functional.gelu(self.up(self.behind(x))))
        return found


class Transformer(nn.Module):
    """Embedded tokens with their places, two blocks, and the mean over the tokens that are there."""

    def __init__(self, width: int, blocks: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(LONGEST, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(PARTS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Indices and 0 or 1 [N, tokens] -> logits [N, 4]."""
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x, attention_mask == 0)
        there = attention_mask.unsqueeze(-1).to(x.dtype)
        found: Tensor = self.head((self.norm(x) * there).sum(1) / there.sum(1))
        return found


class TokensAndMask:
    """Docstrings of four parts of the standard library that runs this."""

    name, objective = "tokens-and-mask", classification(tuple(PARTS))

    def splits(self, options: Mapping[str, Any], seed: int) -> Mapping[str, pd.DataFrame]:
        """Equal docstrings count once; cut by class."""
        table = pd.DataFrame([{"text": text, "label": place} for place, names in enumerate(PARTS.values()) for text in docstrings(names)])
        return cut_table(table.drop_duplicates("text"), options, seed)

    def inputs(self, rows: Rows) -> dict[str, Tensor]:
        """Hashed words, filled up to the longest text of the batch."""
        texts = [[zlib.crc32(word.encode()) % (WORDS - 1) + 1 for word in words_of(text)[:LONGEST]] for text in rows["text"]]
        ids = torch.zeros(len(texts), max(2, *map(len, texts)), dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = torch.tensor(text)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    def build_teacher(self) -> nn.Module:
        """0.2 M parameters, two thirds of them in the embedding."""
        return Transformer(64)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """The same with another `widths: [width]`, in one block."""
        return Transformer(student_setting(config, "widths", (32,))[0], blocks=1)


def docstrings(names: tuple[str, ...]) -> Iterator[str]:
    """Every docstring of some modules and packages, of four words or more."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in names:
        path = library / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if "test" in file.relative_to(library).as_posix():
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                documented = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef | ast.Module)
                text = ast.get_docstring(node) if documented else None
                if text and len(words_of(text)) >= LEAST:
                    yield text
