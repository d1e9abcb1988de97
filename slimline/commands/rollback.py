"""`slimline rollback`: point an alias at what it pointed at before."""

import sys
from typing import Annotated

import typer

from slimline.commands.released import MovedAlias, OfParams, params_of, with_alias
from slimline.params.files import USUAL
from slimline.project import find_project


def rollback(
    alias: MovedAlias = None,
    why: Annotated[str, typer.Option(help="The reason, for those who look later (`slimline history`).")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the alias for a machine.")] = False,
    params_file: OfParams = USUAL,
) -> None:
    """Take an alias one step back. The release it leaves is withdrawn: publishing it again does not bring it back, `promote` does.

    Example: `slimline rollback --alias production`
    """
    from slimline.storage.aliases import alias_key, author
    from slimline.storage.moves import rollback_to_whole
    from slimline.storage.releases import release_base
    from slimline.storage.server import opened_store

    root = find_project()
    params = params_of(root, params_file)
    name, base = with_alias(params.publish, alias).alias, release_base(params.workload)
    with opened_store(root, params.publish) as store:
        after = rollback_to_whole(store, base, name, author(why))
    if as_json:
        sys.stdout.write(after.model_dump_json(by_alias=True, indent=2) + "\n")
        return
    sys.stdout.write(f"{store.url(alias_key(base, name))} points at {after.variant}-{after.target} ({after.release}) again\n")
