"""What the commands about releases share: the params file of the workload, and the alias that they move."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from slimline.errors import InputError
from slimline.params import Params, PublishParams
from slimline.params.files import located

MovedAlias = Annotated[str | None, typer.Option(help="The alias that moves; default: publish.alias of the params file.")]
OfParams = Annotated[
    str, typer.Option("--params", "-p", metavar="FILE", help="Whose workload and bucket it is about, e.g. params/table.yaml.")
]


def params_of(root: Path, given: str) -> Params:
    """The params file that a command was given.

    Raises:
        InputError: no such file, or none of this project.
        ParamsError: it is wrong.
    """
    return Params.load(root / located(root, given), root)


def with_alias(publish: PublishParams, alias: str | None) -> PublishParams:
    """Where accepted variants go, with another alias where one is given.

    Raises:
        InputError: it is no name of an alias.
    """
    if alias is None:
        return publish
    try:
        return PublishParams.model_validate(publish.model_dump() | {"alias": alias})
    except ValidationError:
        raise InputError(
            f"--alias {alias[:80]!r}: no name of an alias; give small letters, digits and hyphens, 64 at most, beginning with no hyphen"
        ) from None
