"""Task files of lm-evaluation-harness from a folder of one's own: plain YAML and data files beside it, read without a network.

https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/task_guide.md
What would run code (`!function`, `class`, `unsafe_code`) or fetch data is refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.errors import InputError, ParamsError
from slimline.params.yaml_file import read_yaml

FORMATS = ("json", "csv", "parquet")
"""What `dataset_path` may be: the format of the files that `dataset_kwargs.data_files` names."""
REFUSED = ("class", "custom_dataset", "group", "include", "process_docs", "process_results", "unsafe_code", "use_prompt")
MOST_TASKS = 100


@dataclass(frozen=True)
class TaskFile:
    """One task: its settings as the harness reads them, and its data files, split -> path."""

    name: str
    settings: dict[str, Any]
    files: dict[str, Path]
    form: str


def read_tasks(folder: Path) -> tuple[TaskFile, ...]:
    """All tasks of a folder, by the names of their files.

    Raises:
        ParamsError: there are none, or some cannot be used; a line each.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml")) if folder.is_dir() else []
    if not 0 < len(paths) <= MOST_TASKS:
        raise ParamsError(
            [f"params.yaml: harness.tasks: {folder} holds {len(paths)} task files (*.yaml); give a folder with 1 to {MOST_TASKS}"]
        )
    found, problems = [], []
    for path in paths:
        try:
            settings = read_yaml(path)
        except InputError as error:
            problems.append(f"harness.tasks: {folder}/{error}")
            continue
        told = list(_problems(settings, path))
        problems += [f"harness.tasks: {path}: {problem}" for problem in told]
        found += [] if told else [_task(settings, path)]
    names = [task.name for task in found]
    problems += [
        f"harness.tasks: {folder}: the task {name!r} stands there twice" for name in sorted({one for one in names if names.count(one) > 1})
    ]
    if problems:
        raise ParamsError(problems)
    return tuple(found)


def read_split(task: TaskFile, split: str) -> list[dict[str, Any]]:
    """The documents of one split.

    Raises:
        InputError: the file is not what its format says, or empty.
    """
    import pandas as pd

    path = task.files[split]
    try:
        if task.form == "json":
            return _documents(path)
        table = pd.read_csv(path) if task.form == "csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"harness: {path}: is not readable as {task.form}: {' '.join(str(error).split())[:200]}") from None
    return [{str(name): value for name, value in row.items()} for row in table.to_dict(orient="records")]


def _documents(path: Path) -> list[dict[str, Any]]:
    """A list of objects, or an object a line."""
    text = path.read_text(encoding="utf-8").strip()
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it holds no objects")
    return list(rows)


def _problems(settings: Any, path: Path) -> Iterator[str]:
    if not isinstance(settings, dict) or not isinstance(settings.get("task"), str):
        yield "names no `task`"
        return
    yield from (f"{name}: is refused here: a task is plain settings and data files of its own" for name in REFUSED if settings.get(name))
    if settings.get("dataset_path") not in FORMATS:
        yield f"dataset_path: {settings.get('dataset_path')!r}; nothing is fetched: give the format of files here, {', '.join(FORMATS)}"
        return
    files = _named_files(settings)
    if not files:
        yield "dataset_kwargs.data_files: missing; name a file, or one a split"
    for split, name in files.items():
        place = path.parent / str(name)
        if not isinstance(name, str) or not place.resolve().is_relative_to(path.parent.resolve()) or not place.is_file():
            yield f"dataset_kwargs.data_files.{split}: no file {name!r} in {path.parent}"
    if not any(settings.get(f"{split}_split") in files for split in ("test", "validation")):
        yield f"test_split, validation_split: neither names one of the splits: {', '.join(files)}"


def _named_files(settings: dict[str, Any]) -> dict[str, Any]:
    """Split -> file; one file alone is the split that is tested."""
    given = (settings.get("dataset_kwargs") or {}).get("data_files") if isinstance(settings.get("dataset_kwargs"), dict) else None
    if isinstance(given, str):
        return {str(settings.get("test_split") or settings.get("validation_split") or "test"): given}
    return dict(given) if isinstance(given, dict) else {}


def _task(settings: dict[str, Any], path: Path) -> TaskFile:
    files = {split: path.parent / name for split, name in _named_files(settings).items()}
    plain = {name: value for name, value in settings.items() if name not in ("dataset_path", "dataset_kwargs", "dataset_name")}
    return TaskFile(settings["task"], plain, files, settings["dataset_path"])
