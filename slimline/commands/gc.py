"""`slimline gc`: remove releases that nothing needs any more."""

import json
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimline.commands.released import OfParams, params_of
from slimline.params.files import USUAL
from slimline.project import find_project

if TYPE_CHECKING:
    from slimline.storage.retention import Stored


def gc(
    nights: Annotated[
        int, typer.Option(min=0, help="Keep all releases of so many of the last days that had any, and what an alias pointed at in them.")
    ] = 14,
    rollbacks: Annotated[int, typer.Option(min=0, help="Keep what so many rollbacks of an alias bring back, however old.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go, with its bytes, and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for a machine.")] = False,
    params_file: OfParams = USUAL,
) -> None:
    """Remove releases that no alias, no rollback and none of the last nights needs, what interrupted uploads left, leases of a day ago, and
    here the checkpoints of trainings that nobody has taken up for a week.

    Example: `slimline gc --nights 30 --dry-run`
    """
    from slimline.storage import checkpoint_folder
    from slimline.storage.moves import turn
    from slimline.storage.objects import store_time
    from slimline.storage.releases import release_base
    from slimline.storage.retention import collect, retained
    from slimline.storage.server import opened_store
    from slimline.storage.stage_leases import ended, forget

    root = find_project()
    params = params_of(root, params_file)
    base = release_base(params.workload)
    with opened_store(root, params.publish) as store:
        now = store_time(store)
        with nullcontext(lambda: True) if dry_run else turn(store, base) as is_ours:
            found = retained(store, base, nights, now, rollbacks)
            going = [one for one in found if not one.why]
            gone = going if dry_run else collect(store, base, going, is_ours)
        leases = ended(store, now)
        forget(store, [] if dry_run else leases)
    checkpoints = {path: path.stat().st_size for path in checkpoint_folder.abandoned(root, datetime.now(UTC))}
    checkpoint_folder.forget([] if dry_run else list(checkpoints))
    if as_json:
        told: dict[str, Any] = {"removed" if not dry_run else "would_remove": list(map(_plain, gone)), "leases": leases}
        told["checkpoints"] = {str(path.relative_to(root)): size for path, size in checkpoints.items()}
        told["kept"] = [_plain(one) for one in found if one.why]
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return
    if found:
        _show(found, gone)
    size = sum(one.size_bytes for one in gone)
    sys.stdout.write(f"{len(gone)} of {len(found)} {'would go' if dry_run else 'are gone'}: {size:,} bytes\n")
    if leases:
        sys.stdout.write(f"{len(leases)} leases of ended stages {'would go' if dry_run else 'are gone'}\n")
    if checkpoints:
        size = sum(checkpoints.values())
        sys.stdout.write(f"{len(checkpoints)} checkpoints of a week ago {'would go' if dry_run else 'are gone'}: {size:,} bytes\n")


def _plain(one: "Stored") -> dict[str, Any]:
    return {
        "release": one.identity,
        "label": one.label,
        "published": one.published.isoformat(timespec="seconds"),
        "size_bytes": one.size_bytes,
        "kept_by": one.why,
    }


def _show(found: "list[Stored]", gone: "list[Stored]") -> None:
    from slimline.report.listing import listing, minute, wide_console

    table = listing("release", "variant-target", "released (UTC)", "bytes", "kept by")
    for one in found:
        label = one.label or ("unreadable release.json" if one.released else "an interrupted upload")
        why = one.why or ("" if one in gone else "meanwhile")
        table.add_row(one.identity, label, minute(one.published.isoformat()), f"{one.size_bytes:,}", why)
    wide_console().print(table)
