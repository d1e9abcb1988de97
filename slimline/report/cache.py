"""The page of a language model's caches: what they save, whether they change a token, and what a cache by meaning gets wrong."""

from collections.abc import Iterator, Mapping
from typing import Any

from slimline.report.numbers import percent, ratio, size
from slimline.report.page import StagePage, Table

Facts = Mapping[str, Any]
SUMMED = "a prompt that is read in two parts is summed in another order, and where two tokens are nearly as likely they change places"
ROUNDED = "int8 arithmetic rounds inputs over the range of all tokens that are read together, which are others where a beginning is known"


def cache_page(facts: Facts) -> StagePage:
    """The page from the file that the stage `cache` writes; every figure on it is computed from that."""
    return StagePage(
        stage="cache",
        variant=f"{facts['variant']}-{facts['target']}",
        title=f"Caches of {facts['variant']} on {facts['target']}",
        summary=tuple(_summary(facts)),
        comparison=(),
        tables=(_prefix_table(facts), _output_table(facts["outputs"]), _meaning_table(facts["meaning"])),
        notes=tuple(_notes(facts)),
    )


def _summary(facts: Facts) -> Iterator[str]:
    length, found = max(facts["prefixes"].items(), key=lambda item: int(item[0]))
    yield (
        f"With the first {int(length):,} tokens of a prompt known, its first token comes {ratio(found['ratio'])} as fast: after "
        f"{found['cached_first_token_ms']:.3g} ms, without the cache after {found['first_token_ms']:.3g} ms."
    )
    shares = [found["equal_answers"] for found in facts["prefixes"].values()]
    if min(shares) == 1:
        yield "Answers with and without the prompt cache are equal token for token."
    else:
        why = ROUNDED if "int8" in facts["computes"] else SUMMED
        yield f"{percent(min(shares))} of the answers with the prompt cache equal those without token for token: {why}."
    outputs = facts["outputs"]
    yield (
        f"The output cache answers a prompt that was asked before in {outputs['hit_ms']:.2g} ms instead of {outputs['answer_ms']:.3g} ms; "
        f"of a release that changed it gives {outputs['hits_after_release_changed']} answers."
    )
    yield _judged(facts["meaning"])


def _judged(meaning: Facts) -> str:
    found = (
        f"a cache by meaning ({meaning['embedding']}, cosine at least {meaning['threshold']:g}) gives a wrong answer to "
        f"{percent(meaning['wrong_hit_rate'], 1)} of {meaning['near_duplicates']} near-duplicates that ask for something else"
    )
    if meaning["accepted"]:
        return f"Accepted: {found} (at most {percent(meaning['most_wrong'], 1)} may be)."
    return f"Rejected: {found}; at most {percent(meaning['most_wrong'], 1)} may be, so leave it off."


def _prefix_table(facts: Facts) -> Table:
    rows = tuple(
        (
            int(length),
            found["cached_tokens"],
            found["first_token_ms"],
            found["cached_first_token_ms"],
            found["disk_first_token_ms"],
            ratio(found["ratio"]),
            percent(found["equal_answers"]),
            *(size(found[key]) if found[key] else None for key in ("memory_bytes", "disk_bytes")),
        )
        for length, found in facts["prefixes"].items()
    )
    columns = (
        "tokens alike",
        "found in the cache",
        "first token without, ms",
        "with, ms",
        "from disk, ms",
        "times faster",
        "equal answers",
    )
    note = "Medians over prompts with the same beginning and ends of their own, with and without the cache in turns, wall time."
    return Table("Prompt cache", (*columns, "memory", "on disk"), rows, note)


def _output_table(found: Facts) -> Table:
    rows = (
        ("prompts, each asked twice", found["prompts"]),
        ("hit rate", percent(found["hit_rate"])),
        ("an answer of the model, ms", found["answer_ms"]),
        ("a hit, ms", found["hit_ms"]),
        ("equal token for token", percent(found["equal_answers"])),
        ("on disk", size(found["disk_bytes"])),
    )
    return Table("Output cache (exact)", ("what", "value"), rows)


def _meaning_table(found: Facts) -> Table:
    rows = [(kind, of["pairs"], percent(of["wrong_hit_rate"], 1)) for kind, of in found["by_kind"].items()]
    rows.append(("all, by meaning", found["near_duplicates"], percent(found["wrong_hit_rate"], 1)))
    rows.append(("all, exact", found["near_duplicates"], percent(found["exact_wrong_hit_rate"], 1)))
    note = (
        f"Only pairs that the model itself answers otherwise count. Of {found['equal_questions']} equal questions in other blanks, a cache "
        f"by meaning finds {percent(found['hit_rate'])}."
    )
    return Table("Near-duplicates with another answer", ("what differs", "pairs", "wrong hits"), tuple(rows), note)


def _notes(facts: Facts) -> Iterator[str]:
    if facts["token_bytes"] is not None:
        yield (
            f"Keys and values of a token take {facts['token_bytes']:,} bytes in float32; this target keeps them in "
            f"{facts['key_value_precision']}."
        )
    if small := facts["small_key_values"]:
        yield (
            f"With keys and values in {small['precision']}, about a quarter of the bytes, {percent(small['equal_share'])} of "
            f"{small['tokens']} tokens are equal before the answers part."
        )
    yield "Caches know a model by the sha256 of its manifest: another release never gets what this one read or answered."
