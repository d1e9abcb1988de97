"""`slimline publish`: what the last run accepted goes to S3."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from slimline.commands.released import MovedAlias, OfParams, params_of, with_alias
from slimline.params.files import USUAL
from slimline.project import find_project


def publish(
    alias: MovedAlias = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what stands in the store for a machine.")] = False,
    params_file: OfParams = USUAL,
) -> None:
    """Upload every accepted variant as a release, then move the alias. Again, with the same bytes, changes nothing.

    Ends with 3 where the run accepted nothing.

    Example: `slimline publish --alias candidate`
    """
    from slimline.storage.publish import publish_project, refuse_another_workload

    root = find_project()
    params = params_of(root, params_file)
    config = with_alias(params.publish, alias)
    refuse_another_workload(root, params.workload, params_file)
    done = publish_project(root, config, lambda line: None if as_json else _say(line))
    if as_json:
        sys.stdout.write(json.dumps(asdict(done), indent=2) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
