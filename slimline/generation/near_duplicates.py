"""Prompts that read nearly alike and ask for something else: what a cache by meaning can get wrong."""

import re
from collections.abc import Iterator

NEGATED = ("is", "are", "was", "can", "will", "should", "has", "must", "if", "return", "True")
OPPOSITES = {"True": "False", "if": "if not", "return": "return not"}
NUMBER = re.compile(r"\d+")
NAME = re.compile(r"\b[A-Z][a-z]{2,}\b|\b[a-z]+_[a-z_]+\b|\b[a-z]{5,}\b")


def near_duplicates(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text): the text with another number, a negation, and two of its names in each other's place, where it has such."""
    if number := NUMBER.search(text):
        yield "number", f"{text[: number.start()]}{int(number[0][:9]) + 1}{text[number.end() :]}"
    for word in NEGATED:
        if found := re.search(rf"\b{word}\b", text):
            yield "negation", f"{text[: found.start()]}{OPPOSITES.get(word, f'{word} not')}{text[found.end() :]}"
            break
    names = list(dict.fromkeys(NAME.findall(text)))[:2]
    if len(names) == 2:
        one, other = names
        swapped = re.sub(rf"\b({re.escape(one)}|{re.escape(other)})\b", lambda found: other if found[0] == one else one, text)
        yield "names", swapped


def same_meaning(text: str) -> Iterator[str]:
    """The text as another client may send it: with a blank before it, and with a line's end more."""
    yield f" {text}"
    yield f"{text}\n"
