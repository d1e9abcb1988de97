"""`slimline history`: what was released, every move of every alias, and what changed from night to night beyond the noise."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slimline.commands.released import OfParams, params_of
from slimline.params.files import USUAL
from slimline.project import find_project

if TYPE_CHECKING:
    from slimline.nights.night import Night
    from slimline.storage.aliases import Move
    from slimline.storage.releases import PublishedRelease

PAGE = Path("reports/history/nights")


@dataclass(frozen=True)
class Event:
    """Something that happened: `event` is released, publish, promote, rollback; or worse, better, moved, verdict. `at` is UTC.

    Of a move, `was` is the release that stood before, `who` made it and `why`; of the other four, `release` and `was` are the two runs.
    """

    at: str
    event: str
    alias: str | None
    variant: str
    target: str
    release: str
    was: str | None = None
    who: str = ""
    why: str = ""


def history(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest events.")] = 50,
    nights: Annotated[int, typer.Option(min=1, help="How many of the last runs are held against each other.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events for a machine.")] = False,
    params_file: OfParams = USUAL,
) -> None:
    """Show what was released, how the aliases moved and what changed between runs beyond the noise, newest first.

    The trend of every figure over the last runs, with intervals, is written to reports/history/nights.html. Example: `slimline history`, or
    `slimline history --params params/table.yaml` for the workload of that file.
    """
    from slimline.report.nights import nights_page
    from slimline.report.page import write_page
    from slimline.report.render import TEMPLATES
    from slimline.storage.aliases import list_aliases
    from slimline.storage.nights import remembered
    from slimline.storage.releases import list_releases, release_base
    from slimline.storage.server import opened_store
    from slimline.storage.trail import earlier_moves

    root = find_project()
    params = params_of(root, params_file)
    base = release_base(params.workload)
    with opened_store(root, params.publish) as store:
        runs = remembered(store, base, nights)
        moves = {
            name: (*earlier_moves(store, base, name, limit - len(alias.moves)), *alias.moves)
            for name, alias in list_aliases(store, base).items()
        }
        found = events(list_releases(store, base), moves, runs)[:limit]
    if runs:
        write_page(nights_page(runs), root / PAGE, templates=root / TEMPLATES)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    elif found:
        _show(found)
        sys.stdout.write(f"trends over the runs: {root / PAGE}.html\n" if runs else "")
    else:
        sys.stdout.write(f"nothing has been released to {store.url(base)}/ yet; `make run` or `slimline publish` does it\n")


def events(releases: "list[PublishedRelease]", moves: "Mapping[str, Sequence[Move]]", nights: "list[Night]") -> list[Event]:
    """Releases, alias moves and changes between runs as one list, newest first."""
    made = [
        Event(one.published.isoformat(timespec="seconds"), "released", None, one.release.variant, one.release.target, one.release.release)
        for one in releases
    ]
    moved = [
        Event(move.at, move.by, name, move.variant, move.target, move.release, move.was, move.who, move.why)
        for name, its in moves.items()
        for move in its
    ]
    return sorted((*made, *moved, *_changed(nights)), key=lambda one: (one.at, one.alias is not None), reverse=True)


def _changed(nights: "list[Night]") -> "Iterator[Event]":
    from slimline.nights.trend import changes, verdicts

    times = {night.identity: night.at for night in nights}
    for one in changes(nights):
        yield Event(times[one.later], one.way, None, *one.pair, one.later, one.earlier, why=one.sentence)
    for judged in verdicts(nights):
        yield Event(times[judged.later], "verdict", None, *judged.pair, judged.later, judged.earlier, why=judged.sentence)


def _show(found: list[Event]) -> None:
    from slimline.report.listing import listing, minute, two_lines, wide_console

    table = listing("release", "at (UTC)", "variant", "alias", "why")
    for one in found:
        table.add_row(
            two_lines(one.release, f"was {one.was}" if one.was else ""),
            two_lines(minute(one.at), one.event),
            two_lines(one.variant, one.target),
            two_lines(one.alias or "", one.who),
            one.why,
        )
    wide_console().print(table)
