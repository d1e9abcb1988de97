"""`slimline publish`: what the last run accepted goes to S3."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from slimline.params import Params
from slimline.project import find_project


def publish(
    alias: Annotated[str | None, typer.Option(help="The alias that moves; default: publish.alias of params.yaml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what stands in the store for a machine.")] = False,
) -> None:
    """Upload every accepted variant as a release, then move the alias. Again, with the same bytes, changes nothing.

    Ends with 3 where the run accepted nothing.

    Example: `slimline publish --alias candidate`
    """
    from slimline.storage.publish import publish_project

    root = find_project()
    params = Params.load(root / "params.yaml")
    config = params.publish if alias is None else type(params.publish).model_validate(params.publish.model_dump() | {"alias": alias})
    done = publish_project(root, config, lambda line: None if as_json else _say(line))
    if as_json:
        sys.stdout.write(json.dumps(asdict(done), indent=2) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
