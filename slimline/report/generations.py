"""Answers of a language model beside the teacher's, as a table and in a sentence, from what the stage `evaluate` writes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimline.report.page import Table

ENDED = "(nothing: it ended)"


def generations_text(found: Sequence[Mapping[str, Any]] | None) -> tuple[str, ...]:
    """How many answers are equal, and where the others part."""
    if not found:
        return ()
    places = sorted(one["parted"]["tokens"] for one in found if one["parted"])
    equal = len(found) - len(places)
    parted = f"; the others part after {', '.join(map(str, places))} tokens" if places else ""
    return (f"Greedily, {equal} of {len(found)} beginnings of test documents are gone on with word for word as the teacher does{parted}.",)


def generations_tables(found: Sequence[Mapping[str, Any]] | None) -> tuple[Table, ...]:
    """Each beginning, both answers, and where they part."""
    if not found:
        return ()
    rows = tuple((one["prompt"], one["baseline"], one["variant"], _where(one["parted"])) for one in found)
    note = "The likeliest token each time. After the first other token both go on from other texts, so that what follows is no measure."
    return (Table("Gone on from the same beginnings", ("beginning", "teacher", "variant", "they part"), rows, note),)


def _where(parted: Mapping[str, Any] | None) -> str:
    if parted is None:
        return "nowhere"
    said = (repr(parted[who]) if parted[who] else ENDED for who in ("baseline", "variant"))
    return f"after {parted['tokens']} tokens: {' / '.join(said)}"
