"""`slimline history`: what was released, and every move of every alias."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from slimline.params import Params
from slimline.project import find_project

if TYPE_CHECKING:
    from slimline.storage.aliases import Alias
    from slimline.storage.releases import PublishedRelease


@dataclass(frozen=True)
class Event:
    """Something that happened in the store: `event` is released, publish, promote or rollback; `at` is UTC."""

    at: str
    event: str
    alias: str | None
    variant: str
    target: str
    release: str


def history(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest events.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events for a machine.")] = False,
) -> None:
    """Show what was released and how the aliases moved, newest first.

    Example: `slimline history --limit 10`
    """
    from slimline.storage.aliases import list_aliases
    from slimline.storage.releases import list_releases, release_base
    from slimline.storage.server import opened_store

    root = find_project()
    params = Params.load(root / "params.yaml")
    base = release_base(params.workload)
    with opened_store(root, params.publish) as store:
        found = events(list_releases(store, base), list_aliases(store, base))[:limit]
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    elif found:
        _show(found)
    else:
        sys.stdout.write(f"nothing has been released to {store.url(base)}/ yet; `make run` or `slimline publish` does it\n")


def events(releases: "list[PublishedRelease]", aliases: "dict[str, Alias]") -> list[Event]:
    """Releases and alias moves as one list, newest first."""
    made = [
        Event(one.published.isoformat(timespec="seconds"), "released", None, one.release.variant, one.release.target, one.release.release)
        for one in releases
    ]
    moved = [
        Event(move.at, move.by, name, move.variant, move.target, move.release) for name, alias in aliases.items() for move in alias.moves
    ]
    return sorted(made + moved, key=lambda one: (one.at, one.alias is not None), reverse=True)


def _show(found: list[Event]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("at (UTC)", "event", "alias", "variant", "target", "release")
    for one in found:
        table.add_row(one.at[:19].replace("T", " "), one.event, one.alias or "", one.variant, one.target, one.release)
    Console(markup=False).print(table)
