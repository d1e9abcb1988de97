"""`slimline import-gguf`: a GGUF file as a Hugging Face directory."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from slimline.errors import InputError


def import_gguf(
    file: Annotated[Path, typer.Argument(help="A .gguf file of a language model.")],
    directory: Annotated[Path, typer.Argument(help="A new folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print {directory, parameters, types, …} for a machine.")] = False,
) -> None:
    """Make a Hugging Face directory of a GGUF file, its weights widened to float32, for `slimline init DIRECTORY --text TEXTS`.

    Example: `slimline import-gguf SmolLM2-135M-Instruct.Q4_1.gguf smollm2/`
    """
    if directory.exists():
        raise InputError(f"{directory}: is there already; name a new folder")
    from slimline.workloads.huggingface.gguf import import_gguf as made_of

    found = made_of(file, directory)
    if as_json:
        sys.stdout.write(json.dumps({"directory": str(directory.absolute()), **found}) + "\n")
        return
    sys.stdout.write(
        f"{directory}: {found['parameters']:,} parameters, {found['directory_bytes']:,} bytes as float32; in {file} they are "
        f"{', '.join(found['types'])} ({found['file_bytes']:,} bytes), and stay as rounded as they are there\n"
    )
