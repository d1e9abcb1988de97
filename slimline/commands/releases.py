"""`slimline releases`: what stands in the store."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from slimline.params import Params
from slimline.project import find_project


def releases(
    workload: Annotated[str | None, typer.Option(help="Default: the workload of params.yaml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every release for a machine.")] = False,
) -> None:
    """List the releases of a workload, newest first, with the aliases that point at them.

    Example: `slimline releases --json`
    """
    from slimline.storage.aliases import list_aliases
    from slimline.storage.releases import list_releases, release_base
    from slimline.storage.server import opened_store

    root = find_project()
    params = Params.load(root / "params.yaml")
    base = release_base(workload or params.workload)
    with opened_store(root, params.publish) as store:
        found, aliases = list_releases(store, base), list_aliases(store, base)
    rows = [
        {
            **one.release.model_dump(include={"release", "variant", "target", "precision", "size_bytes", "evaluation"}),
            "published": one.published.isoformat(timespec="seconds"),
            "url": one.url,
            "aliases": [name for name, alias in aliases.items() if alias.release == one.release.release],
        }
        for one in found
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif rows:
        _show(rows)
    else:
        sys.stdout.write(f"no release in {store.url(base)}/ yet; `make run` or `slimline publish` makes some\n")


def _show(rows: list[dict[str, Any]]) -> None:
    from slimline.report.listing import listing, minute, two_lines, wide_console

    table = listing("release", "variant", "bytes", "quality", "released (UTC)")
    for row in rows:
        table.add_row(
            two_lines(row["release"], ", ".join(row["aliases"])),
            two_lines(row["variant"], row["target"]),
            two_lines(f"{row['size_bytes']:,}", row["precision"]),
            two_lines(*_quality(row["evaluation"])),
            minute(row["published"]),
        )
    wide_console().print(table)


def _quality(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    """The gate's metric, and its interval."""
    drop, quality = evaluation.get("drop"), evaluation.get("quality", {})
    shown = quality.get(drop["metric"]) if drop else None
    if not drop or not shown:
        return "", ""
    return f"{drop['metric']} {shown['value']:.4f}", f"[{shown['ci'][0]:.4f}, {shown['ci'][1]:.4f}]"
