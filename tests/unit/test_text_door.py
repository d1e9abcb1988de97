"""A column of texts without code: words, their places, and what cannot be learned from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from slimline.commands.init_text import free_text, look_at_text
from slimline.data.preprocessing import UNSEEN, Texts, preprocessing_of, words_of
from slimline.data.table import Table, write_table
from slimline.errors import DataError, InputError, WorkloadError
from slimline.params import DataParams
from slimline.workloads.nets import convolutional
from slimline.workloads.text import TextDoor

GOOD, BAD = "a fine and warm day at the sea", "it rained all day, and the soup was cold"


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    rows = [
        {"review": f"{' '.join(draw.permutation((GOOD if row % 2 else BAD).split()))} {row}", "stars": 5 if row % 2 else 1, "id": row}
        for row in range(300)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "reviews.csv", index=False)
    return tmp_path / "reviews.csv"


def test_words_and_marks_become_places_filled_up_with_nothing() -> None:
    texts = Texts(column="t", vocabulary=("!", "day", "fine"), longest=4)
    assert words_of("A fine, FINE day!") == ["a", "fine", ",", "fine", "day", "!"]
    ids = texts({"t": ["Fine day!", "what a fine day it was", None]})["ids"]
    assert ids.dtype == np.int64
    assert ids.tolist() == [[4, 3, 2, 0], [UNSEEN, UNSEEN, 4, 3], [0, 0, 0, 0]]
    assert preprocessing_of(texts.model_dump(mode="json")) == texts


def test_the_door_learns_its_vocabulary_from_training_texts_alone(reviews: Path, tmp_path: Path) -> None:
    door = TextDoor(DataParams(path=str(reviews), text="review", target="stars", calibration_samples=30))
    counts = {split: write_table(tmp_path / f"{split}.arrow", rows) for split, rows in door.splits(0).items()}
    assert sum(counts.values()) == 300
    facts = door.facts(Table(tmp_path / "train.arrow"))
    assert facts.objective["labels"] == ["1", "5"]
    assert isinstance(facts.preprocessing, Texts)
    assert {"soup", "sea", ","} <= set(facts.preprocessing.vocabulary)
    assert not any(word.isdigit() for word in facts.preprocessing.vocabulary), "what is seen once is no word"


def test_the_net_reads_no_further_than_the_text() -> None:
    torch.manual_seed(0)
    texts = Texts(column="t", vocabulary=("day", "fine"), longest=8)
    net = convolutional(texts, 2, {}).eval()
    short = torch.tensor([[2, 3]])
    filled = torch.tensor([[2, 3, 0, 0, 0]])
    with torch.no_grad():
        assert torch.allclose(net(short), net(filled), atol=1e-6)


def test_init_finds_the_column_of_texts(reviews: Path) -> None:
    assert free_text(reviews, "stars", ()) == "review"
    looked = look_at_text(reviews, "stars", "review", "default")
    assert "workload: text" in looked.text
    assert looked.lines[0].startswith(f"{reviews}: 300 texts in column 'review'")
    with pytest.raises(InputError, match="column 'review' holds texts; name the column to be told from them: --target COLUMN"):
        look_at_text(reviews, None, "review", "default")


def test_texts_without_blanks_between_words_take_a_tokenizer(tmp_path: Path) -> None:
    rows = [{"review": f"これは{row}とても良い商品です番号{row}", "stars": row % 2} for row in range(300)]
    path = tmp_path / "reviews.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    said = "column 'review': no word is seen twice; texts without blanks between words take a net with a tokenizer: --model hf:DIRECTORY"
    with pytest.raises(DataError, match=said):
        look_at_text(path, "stars", "review", "default")
    with pytest.raises(WorkloadError, match=said):
        convolutional(Texts(column="review", vocabulary=("。",), longest=8), 2, {})


def test_missing_texts_are_counted_and_do_not_hide_the_column(tmp_path: Path) -> None:
    rows = [{"review": None if row % 2 else f"{GOOD} {row}", "stars": row % 3} for row in range(300)]
    pd.DataFrame(rows).to_csv(tmp_path / "reviews.csv", index=False)
    assert free_text(tmp_path / "reviews.csv", "stars", ()) == "review"
    assert (
        "300 texts in column 'review', 150 of them empty, of"
        in look_at_text(tmp_path / "reviews.csv", "stars", "review", "default").lines[0]
    )


def test_a_column_that_is_not_there_is_said(reviews: Path) -> None:
    with pytest.raises(DataError, match=r"data.text: name the column of .* that holds the texts"):
        TextDoor(DataParams(path=str(reviews), target="stars")).splits(0)
    with pytest.raises(DataError, match=r"data\.text: 'nope' is no column"):
        TextDoor(DataParams(path=str(reviews), target="stars", text="nope")).splits(0)
