"""`slimline promote`: point an alias at a release that is in the store."""

import sys
from typing import Annotated

import typer

from slimline.commands.released import MovedAlias, OfParams, params_of, with_alias
from slimline.params.files import USUAL
from slimline.project import find_project


def promote(
    release: Annotated[str, typer.Argument(help="A release id (or its beginning), VARIANT-TARGET, or another alias.")],
    alias: MovedAlias = None,
    why: Annotated[str, typer.Option(help="The reason, for those who look later (`slimline history`).")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the alias for a machine.")] = False,
    params_file: OfParams = USUAL,
) -> None:
    """Point an alias at a release, also one that was rolled back.

    Example: `slimline promote latest --alias production --why 'a week without complaints'`
    """
    from slimline.storage.aliases import alias_key, author
    from slimline.storage.promotion import promote_reference
    from slimline.storage.releases import release_base
    from slimline.storage.server import opened_store

    root = find_project()
    params = params_of(root, params_file)
    name = with_alias(params.publish, alias).alias
    base = release_base(params.workload)
    with opened_store(root, params.publish) as store:
        after, moved = promote_reference(store, base, release, author(why), alias=name, source=params.publish.alias)
    if as_json:
        sys.stdout.write(after.model_dump_json(by_alias=True, indent=2) + "\n")
        return
    state = "now points at" if moved else "points already at"
    sys.stdout.write(f"{store.url(alias_key(base, name))} {state} {after.variant}-{after.target} ({after.release})\n")
