"""`slimline init`: look at a folder of pictures or a table, and write a whole params.yaml for it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from slimline.artifact.folder import write_text
from slimline.commands.looked import Looked
from slimline.commands.suited import is_own, suited
from slimline.errors import InputError
from slimline.params import Params
from slimline.project import find_project
from slimline.workloads.huggingface.directory import CONFIG, PREFIX, is_directory, located

PARAMS = Path("params.yaml")
KINDS = {"images": "pictures", "table": "a table", "text": "texts"}
"""What the data of a workload are called."""


def init(
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder with a folder a class or a table of pictures, a .csv or .parquet table, a folder of texts, or the Hugging Face "
            "directory of a language model or an encoder."
        ),
    ],
    target: Annotated[
        str | None, typer.Option(help="Of a table: the column to be told from the others; of a folder: that of the classes in its table.")
    ] = None,
    model: Annotated[str, typer.Option(help="A bundled architecture, hf:DIRECTORY, or path/to/file.py:builder.")] = "default",
    text: Annotated[
        str | None,
        typer.Option(
            help="Of a table: the column that holds texts, where it is to be learned from them. Of a Hugging Face directory: the texts, a "
            "folder, a file, or TABLE:COLUMN."
        ),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Of a table: a column that is left out; may be given several times.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over params.yaml.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found for a machine.")] = False,
) -> None:
    """Look at the data and write params.yaml: splits, variants and margins that suit it, commented.

    Example: `slimline init photos/ && slimline check && slimline run`
    """
    root = find_project(needed=("dvc.yaml",))
    if (root / PARAMS).exists() and not force:
        raise InputError(f"{root / PARAMS} is there already; give --force to write over it")
    looked = _looked(path, target, model, text, tuple(drop or ()), root)
    write_text(root / PARAMS, looked.text)
    if is_own(Params.load(root / PARAMS, root).model.architecture):
        sys.stderr.write("trying the variants on the net, untrained …\n")
        looked = suited(looked, root / PARAMS)
    if as_json:
        sys.stdout.write(json.dumps({"params": str(root / PARAMS), **looked.found}, indent=2) + "\n")
        return
    sys.stdout.writelines(f"{line}\n" for line in (*looked.lines, f"wrote {root / PARAMS}; next: slimline check && slimline run"))


def _looked(path: Path, target: str | None, model: str, text: str | None, drop: tuple[str, ...], root: Path) -> Looked:
    """What is found of the kind of data that there is.

    Raises:
        InputError: an option is for another kind, or the data cannot be learned from.
    """
    from slimline.commands.init_images import look_at_images
    from slimline.commands.init_language import TEXT_ENDS, holds_texts, is_language_model, look_at_language
    from slimline.commands.init_table import look_at_table
    from slimline.commands.init_text import free_text, look_at_text

    if (path / CONFIG).is_file():
        path, text, model = _texts_of(path, text)
    _require_net(model, root)
    is_causal = is_directory(model) and is_language_model(root / model.removeprefix(PREFIX))
    is_text = path.is_file() and path.suffix.lower() in TEXT_ENDS
    if is_causal or (model == "default" and target is None and (is_text or (path.is_dir() and holds_texts(path)))):
        return look_at_language(str(path), text, model, root)
    if path.is_dir():
        if drop or text:
            raise InputError(f"{path}: --text and --drop are for tables; a folder is of pictures")
        _require_kind(model, "images", path)
        _require_pictures(path)
        return look_at_images(path, model, root, target)
    if found := text or free_text(path, target, drop):
        _require_kind(model, "text", path)
        return look_at_text(path, target, found, model, root)
    if is_directory(model):
        raise InputError(f"--model {model}: is for pictures and texts; a table takes perceptron, or path/to/file.py:builder")
    _require_kind(model, "table", path)
    return look_at_table(path, target, drop, model)


def _require_net(model: str, root: Path) -> None:
    """Hold `--model` to naming something that there is.

    Raises:
        InputError: a name that is none of ours, or a file that is not there.
        ArtifactError: there is no such directory.
    """
    from slimline.workloads.opened import ARCHITECTURES

    if is_directory(model):
        located(model, root)
    elif ".py:" in model:
        if not (root / (file := model.rpartition(":")[0])).is_file():
            raise InputError(f"--model {model}: no file {file!r}; the path is relative to the project folder")
    elif model not in (ours := ("default", *ARCHITECTURES)):
        raise InputError(f"--model {model}: is none of ours ({', '.join(ours)}); take hf:DIRECTORY, or path/to/file.py:builder")


def _require_kind(model: str, workload: str, path: Path) -> None:
    """Hold one of our nets to the kind of data that it takes.

    Raises:
        InputError: it takes another.
    """
    from slimline.workloads.opened import ARCHITECTURES, DEFAULTS

    if model in ARCHITECTURES and model != DEFAULTS[workload]:
        takes = next(KINDS[other] for other, net in DEFAULTS.items() if net == model)
        raise InputError(f"--model {model}: takes {takes}, and {path} is of {KINDS[workload]}; take {DEFAULTS[workload]}")


def _require_pictures(folder: Path) -> None:
    """Hold a folder to holding pictures, before it is said where they should lie.

    Raises:
        InputError: it holds none, and no texts either.
    """
    from slimline.commands.init_language import TEXT_ENDS
    from slimline.workloads.pictures import ENDINGS

    if not any(file.suffix.lower() in ENDINGS for file in folder.rglob("*")):
        kinds = f"no pictures ({', '.join(sorted(ENDINGS))}), nor is it mostly texts ({', '.join(TEXT_ENDS)})"
        raise InputError(f"{folder}: holds {kinds}; a table is named by its file")


def _texts_of(folder: Path, text: str | None) -> tuple[Path, str | None, str]:
    """Of a Hugging Face directory: the path of the texts, their column where they stand in a table, and the net.

    Raises:
        InputError: no texts were named.
    """
    if text is None:
        raise InputError(f"{folder}: is a Hugging Face directory; name the texts: --text FOLDER, a file, or TABLE:COLUMN")
    place, _, column = text.rpartition(":")
    if place.endswith((".csv", ".parquet")):
        return Path(place), column, f"{PREFIX}{folder}"
    if text.endswith((".csv", ".parquet")):
        raise InputError(f"--text {text}: name the column that holds the texts: --text {text}:COLUMN")
    return Path(text), None, f"{PREFIX}{folder}"
