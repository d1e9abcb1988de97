"""`slimline verify`: every byte of a release against its checksums, and what runs against a signature."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def verify(
    location: Annotated[str, typer.Argument(help="s3://… of a release or an alias, or the folder of a fetched one.")],
    public_key: Annotated[Path | None, typer.Option(help="The public key (PEM) that it must have been signed with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for a machine.")] = False,
) -> None:
    """Check a release: that no byte differs from what was published, and with a key that what runs was signed by its owner.

    Example: `slimline verify s3://slimline/releases/digits/aliases/latest.json --public-key key.pub`
    """
    from slimline.artifact.compiled import RELEASE, read_compiled
    from slimline.runtime import fetched
    from slimline.storage.releases import release_id, verify_release
    from slimline.storage.signing import verify_signature

    folder = fetched(location) if location.startswith("s3://") else Path(location)
    identity = release_id(folder) if (folder / "manifest.json").is_file() else ""
    manifest = verify_release(folder, identity) if (folder / RELEASE).is_file() else read_compiled(folder)
    if public_key is not None:
        verify_signature(folder, public_key)
    label = f"{manifest.variant}-{manifest.target}"
    if as_json:
        told = {"release": identity, "label": label, "files": len(manifest.files), "signed": public_key is not None}
        sys.stdout.write(json.dumps(told) + "\n")
        return
    signed = f"signed by the owner of {public_key}" if public_key else "its signature was not asked for (--public-key)"
    sys.stdout.write(f"{label} ({identity}): all {len(manifest.files)} files are as published; {signed}\n")
