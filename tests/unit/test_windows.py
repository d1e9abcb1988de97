"""Documents as windows of tokens: every token asked for once, by the bytes that it is, and none of another document."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from slimline.data.windows import LABEL, TOKENS, Windows
from slimline.objectives.readings import IGNORED
from slimline.workloads.huggingface.windows import START, trained_windows

TEXT = "The sea was warm, the day was fine; it rained – and “naïve” cats drank 日本 tea 🙂.\n" * 3


@pytest.fixture(scope="module")
def learned() -> Windows:
    return trained_windows([TEXT], 300, 16, 64)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), window=st.integers(2, 40))
def test_every_token_but_the_first_is_asked_for_once(learned: Windows, text: str, window: int) -> None:
    cut = learned.model_copy(update={"window": window})
    whole, found = learned.reader.encode(text).ids, list(cut.cut(text))
    told = [token for one in found for token in one.tokens[len(one.tokens) - one.asked :].tolist()]
    assert told == whole[1:]
    assert all(len(one.tokens) == min(window, len(whole)) for one in found)
    assert all(one.asked < len(one.tokens) for one in found)


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=st.characters(max_codepoint=127), max_size=200))
def test_bytes_are_those_of_the_text(learned: Windows, text: str) -> None:
    """The first token stands before the text, so that all of its bytes are asked for."""
    assert sum(one.size_bytes for one in learned.cut(text)) == len(text.encode())


@pytest.mark.parametrize("window", [2, 3, 5, 16])
def test_a_character_of_several_tokens_counts_once(learned: Windows, window: int) -> None:
    cut = learned.model_copy(update={"window": window})
    for text in ("日本" * 20, "naïve 🙂 – x"):
        assert sum(one.size_bytes for one in cut.cut(text)) == len(text.encode())


def test_what_a_tokenizer_adds_behind_a_text_is_left_out(learned: Windows) -> None:
    """As if it added nothing there: a text goes on."""
    reader = Tokenizer.from_str(json.dumps(learned.tokenizer))
    special = [(START, 0)]
    reader.post_processor = processors.TemplateProcessing(single=f"{START} $A {START}", special_tokens=special)
    ending = Windows.model_validate(learned.model_dump() | {"tokenizer": json.loads(reader.to_str())})
    assert (learned.added, ending.added) == ((1, 0), (1, 1))
    for text in ("", "the sea", TEXT):
        assert ending.tokens(text) == learned.tokens(text) == tuple(learned.reader.encode(text).ids)
        found, wanted = (list(one.cut(text)) for one in (ending, learned))
        assert [(one.tokens.tolist(), one.asked, one.size_bytes) for one in found] == [
            (one.tokens.tolist(), one.asked, one.size_bytes) for one in wanted
        ]
    given, known = (one({"text": ["the sea", "it"]}) for one in (ending, learned))
    assert all(np.array_equal(given[name], known[name]) for name in known)


def test_what_is_asked_of_a_window_stands_one_place_before(learned: Windows) -> None:
    found = list(learned.cut(TEXT))
    rows: dict[str, Any] = {TOKENS: [one.tokens for one in found], LABEL: [[one.asked, one.size_bytes, 7] for one in found]}
    inputs, targets = learned(rows), learned.targets(rows)
    assert inputs["input_ids"].shape == targets["tokens"].shape == (len(found), 16)
    for ids, following in zip(inputs["input_ids"], targets["tokens"], strict=True):
        asked = np.flatnonzero(following != IGNORED)
        assert np.array_equal(following[asked], ids[asked + 1])
    assert targets["document"].tolist() == [7] * len(found)


def test_tokens_are_shown_as_text(learned: Windows) -> None:
    """Of a model's answers and of what was asked, whatever their type is in a table."""
    tokens = [float(token) for token in learned.tokens("the sea\nwas warm")]
    assert learned.shown([IGNORED, *tokens]) == "the sea was warm"
    assert learned.shown(np.array(learned.tokens(TEXT))).startswith("The sea was warm, the day")
    assert learned.shown(learned.tokens(TEXT)).endswith(" …")


def test_texts_are_read_as_they_are_and_come_back(learned: Windows) -> None:
    inputs = learned({"text": ["the sea", "it"]})
    assert inputs["attention_mask"].sum(1).tolist() == [len(learned.reader.encode(text).ids) for text in ("the sea", "it")]
    assert learned.decoded(learned.reader.encode(TEXT).ids) == TEXT
    assert Windows.model_validate(json.loads(learned.model_dump_json())) == learned
