"""An answer while it is written: the pieces are the whole answer, whatever characters and decoders they are cut by."""

import functools
import json

import pytest
from tokenizers import Tokenizer, decoders, models

from slimline.data.windows import Windows
from slimline.generation import Sampling
from slimline.generation.answers import Reader, Writing
from tests.generating_nets import windows


@functools.cache
def bytes_alone() -> Windows:
    """ASCII, and bytes as Llama 2 falls back to them: half a character makes its decoder take back the whole ones before it."""
    ascii_alone = {chr(value): value for value in range(128)}
    vocabulary = ascii_alone | {f"<0x{value:02X}>": 128 + value for value in range(256)} | {"<unk>": 384}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return Windows(tokenizer=json.loads(made.to_str()), window=32, longest=192, pad_id=0)


def tokens_of(read: Windows, given: bytes) -> list[int]:
    """What a model writes for these bytes."""
    if read.ends:
        return [int(token) for token in read.reader.encode(given.decode()).ids]
    return [value if value < 128 else 128 + value for value in given]


def written(read: Windows, tokens: list[int], sampling: Sampling) -> tuple[str, str, str]:
    """The answer of these tokens: whole, in its pieces, and why it ended."""
    pieces: list[str] = []
    writing = Writing(Reader(read, 400, 192), [1], sampling, lambda piece: bool(pieces.append(piece)))
    for token in tokens:
        if not writing.take(token):
            break
    answer = writing.finished(0)
    return answer.text, "".join(pieces), answer.finish_reason


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("Yes.\n用户: hi", "\n用户:", "Yes."),
        ("done é x", " é", "done"),
        ("Yes.\n用 is no end", "\n用户:", "Yes.\n用 is no end"),
        ("Yes.\n用", "\n用户:", "Yes.\n用"),
    ],
)
@pytest.mark.parametrize("read", [windows(), bytes_alone()], ids=["of-several-bytes", "of-single-bytes"])
def test_no_beginning_of_a_stop_is_streamed_and_what_was_held_comes_at_the_end(read: Windows, text: str, stop: str, expected: str) -> None:
    assert written(read, tokens_of(read, text.encode()), Sampling(max_new_tokens=99, stop=(stop,)))[:2] == (expected, expected)


def test_an_engine_that_ends_without_a_word_leaves_nothing_held() -> None:
    tokens = tokens_of(windows(), b"one\nEN")
    assert written(windows(), tokens, Sampling(max_new_tokens=99, stop=("\nEND",))) == ("one\nEN", "one\nEN", "stop")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("éé".encode(), "éé"),
        ("éé".encode()[:3], "é\ufffd"),
        ("日本語".encode()[:-1] + b" a b", "日本\ufffd\ufffd a b"),
        ("é".encode() + b"\x80 a " + "é!".encode(), "é\ufffd a é!"),
        (b"x\xc3" + "é".encode() + b" x", "x\ufffd\ufffd\ufffd x"),
    ],
)
def test_half_a_character_takes_back_nothing_that_was_told(given: bytes, expected: str) -> None:
    found = written(bytes_alone(), tokens_of(bytes_alone(), given), Sampling(max_new_tokens=len(given)))
    assert found == (expected, expected, "length")
