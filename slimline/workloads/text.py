"""`text`: a CSV or Parquet file with a column of texts and a target, without code."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.data.preprocessing import Texts, words_of
from slimline.data.table import Source, Table
from slimline.errors import DataError
from slimline.objectives.described import described
from slimline.params import DataParams
from slimline.workloads.facts import Facts
from slimline.workloads.records import LABEL, TableFound, find_table, pieces
from slimline.workloads.table import SPLITS, cut_rows, objective_of_table

MOST_WORDS, LEAST_SEEN = 20_000, 2
"""The vocabulary: the commonest words of the training texts, of those that are seen twice or more."""
LONGEST, USUAL = 256, 0.98
"""Words of a text that are read at most, and the share of texts that should be read whole."""


class TextDoor:
    """The door `text`; `path` is the file, `text` and `target` its columns."""

    def __init__(self, options: DataParams) -> None:
        self.options = options
        self.found: TableFound | None = None

    def splits(self, seed: int) -> Mapping[str, Source]:
        """The texts of each split with the target as `label`; equal texts stand in one split."""
        options = self.options
        self.found = find_texts(options)
        where = cut_rows(self.found, options, seed)
        return {split: _rows(self.found, str(options.text), where == place) for place, split in enumerate(SPLITS)}

    def facts(self, train: Table) -> Facts:
        """The vocabulary and the usual length, from the training texts."""
        found = self.found
        assert found is not None
        counts: Counter[str] = Counter()
        lengths: list[int] = []
        for group in train.groups():
            for text in group[str(self.options.text)]:
                words = words_of(text)
                counts.update(words)
                lengths.append(len(words))
        known = vocabulary(counts)
        longest = int(min(max(np.quantile(lengths, USUAL), 8), LONGEST))
        preprocessing = Texts(column=str(self.options.text), vocabulary=tuple(sorted(known)), longest=longest)
        objective = described(objective_of_table(found, train.rows(slice(0, len(train)))[LABEL]))
        learned = {"task": found.task, "rows": found.rows, "words": len(known), "longest": max(lengths)}
        return Facts(preprocessing=preprocessing, objective=objective, outputs=max(len(found.labels), 1), found=learned)


def vocabulary(counts: Mapping[str, int]) -> list[str]:
    """The commonest words, of those that are seen often enough."""
    return [word for word, count in Counter(counts).most_common(MOST_WORDS) if count >= LEAST_SEEN]


def words_problem(known: Iterable[str], where: str) -> str:
    """Why a net would learn nothing from words; empty where there are some beside punctuation."""
    if any(word.isalnum() for word in known):
        return ""
    return f"{where}: no word is seen twice; texts without blanks between words take a net with a tokenizer: --model hf:DIRECTORY"


def find_texts(options: DataParams) -> TableFound:
    """The table, of which the text alone counts beside the target.

    Raises:
        DataError: no text was named, or the table cannot be learned from.
    """
    path = Path(options.path)
    names = [str(name) for name in next(pieces(path)).columns]
    if options.text is None:
        raise DataError(f"params.yaml: data.text: name the column of {path} that holds the texts, one of {', '.join(names)}")
    others = [name for name in names if name not in (options.text, options.target)]
    return find_table(path, options.target, others, options.task, text=options.text)


def _rows(found: TableFound, column: str, mine: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    start = 0
    for piece in pieces(found.path):
        texts = piece[column].tolist()
        for place in np.flatnonzero(mine[start : start + len(piece)]):
            text = texts[place]
            yield {column: text if isinstance(text, str) else "", LABEL: found.targets[start + place]}
        start += len(piece)
