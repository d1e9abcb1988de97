"""The page of a language model's caches: what they save, whether they change a token, and what a cache by meaning gets wrong."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from slimline.artifact.json_file import read_json
from slimline.errors import StageError
from slimline.report.numbers import percent, ratio, size
from slimline.report.page import StagePage, Table

Facts = Mapping[str, Any]
SCHEMA = 1
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
        tables=(_prefix_table(facts), _output_table(facts["outputs"]), *_meaning_tables(facts["meaning"])),
        notes=tuple(_notes(facts)),
    )


def read_cache(metrics: Path, variant: str, target: str) -> dict[str, Any] | None:
    """What summary.json holds of the caches of a variant on a target; None where the variant was not made.

    Raises:
        ArtifactError: the stage's file is missing or damaged.
        StageError: it is of another schema.
    """
    path = metrics / "cache" / f"{variant}-{target}.json"
    facts: dict[str, Any] = read_json(path)
    if "missed" in facts:
        return None
    if facts.get("schema") != SCHEMA:
        raise StageError(f"{path}: has schema {facts.get('schema')!r}, expected {SCHEMA}; run `dvc repro -f cache@{variant}-{target}`")
    length, known = _longest(facts)
    outputs, meaning = facts["outputs"], facts["meaning"]
    figures = ("first_token_ms", "cached_first_token_ms", "ratio", "equal_answers")
    return {
        "variant": variant,
        "target": target,
        "prefix_tokens": int(length),
        **{name: known[name] for name in figures},
        "output_cache": {name: outputs[name] for name in ("hit_rate", "hit_ms", "answer_ms", "equal_answers")},
        "semantic": None
        if meaning is None
        else {name: meaning[name] for name in ("hit_rate", "wrong_hit_rate", "near_duplicates", "most_wrong", "accepted")},
    }


def cache_table(rows: Sequence[Facts]) -> Table:
    """The decision page's table: first token with and without, hits, wrong hits, and what became of the cache by meaning."""
    columns = ("variant", "target", "tokens known", "first token without, ms", "with, ms", "times faster", "equal answers")
    cells = tuple(
        (
            Markup('<a href="stages/cache/{0}-{1}.html">{0}</a>').format(escape(row["variant"]), escape(row["target"])),
            *(row["target"], row["prefix_tokens"], row["first_token_ms"], row["cached_first_token_ms"], ratio(row["ratio"])),
            *(percent(row["equal_answers"]), percent(row["output_cache"]["hit_rate"]), *_semantic_cells(row["semantic"])),
        )
        for row in rows
    )
    note = (
        "Wall times. Output cache: each prompt is asked twice, so half are hits where all are kept. By meaning: hits are equal questions "
        "that are found, wrong hits near-duplicates that ask for something else and get the answer all the same."
    )
    return Table("Caches", (*columns, "output cache, hits", "by meaning, hits", "wrong hits", "cache by meaning"), cells, note)


def _semantic_cells(found: Facts | None) -> tuple[str | None, ...]:
    if found is None:
        return None, None, "not judged"
    verdict = "accepted" if found["accepted"] else f"rejected: at most {percent(found['most_wrong'], 1)} may be wrong"
    return percent(found["hit_rate"]), percent(found["wrong_hit_rate"], 1), verdict


def _longest(facts: Facts) -> tuple[str, Facts]:
    """The longest beginning that was known, in tokens, and its figures."""
    found: tuple[str, Facts] = max(facts["prefixes"].items(), key=lambda item: int(item[0]))
    return found


def _summary(facts: Facts) -> Iterator[str]:
    length, found = _longest(facts)
    yield _prompt_cache(int(length), found, facts.get("unkept"))
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


def _prompt_cache(length: int, found: Facts, unkept: str | None) -> str:
    if unkept is not None:
        return f"The prompt cache keeps nothing of this net: {unkept}."
    if not found["cached_tokens"]:
        return f"A beginning of {length:,} tokens, the longest that the context has room for, is too short for the prompt cache."
    return (
        f"With the first {length:,} tokens of a prompt known, its first token comes {ratio(found['ratio'])} as fast: after "
        f"{found['cached_first_token_ms']:.3g} ms, without the cache after {found['first_token_ms']:.3g} ms."
    )


def _judged(meaning: Facts | None) -> str:
    if meaning is None:
        return "A cache by meaning is not judged: the model answers no near-duplicate otherwise than its original. Leave it off."
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


def _meaning_tables(found: Facts | None) -> tuple[Table, ...]:
    if found is None:
        return ()
    rows = [(kind, of["pairs"], percent(of["wrong_hit_rate"], 1)) for kind, of in found["by_kind"].items()]
    rows.append(("all, by meaning", found["near_duplicates"], percent(found["wrong_hit_rate"], 1)))
    rows.append(("all, exact", found["near_duplicates"], percent(found["exact_wrong_hit_rate"], 1)))
    note = (
        f"Only pairs that the model itself answers otherwise count. Of {found['equal_questions']} equal questions in other blanks, a cache "
        f"by meaning finds {percent(found['hit_rate'])}."
    )
    return (Table("Near-duplicates with another answer", ("what differs", "pairs", "wrong hits"), tuple(rows), note),)


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
