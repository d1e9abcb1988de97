"""The data of `make bench`: each function makes what its workload reads, in a folder."""

import csv
import inspect
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import real_models

BENCHMARKS = Path(__file__).resolve().parents[1]
EMOJI = "emoji-datasource-google@16.0.0"
MODULES = ("argparse", "ast", "asyncio", "collections", "csv", "ctypes", "datetime", "decimal", "difflib", "email", "fractions", "http")
MODULES += ("inspect", "json", "logging", "mailbox", "optparse", "pathlib", "pickle", "random", "socket", "sqlite3", "statistics")
MODULES += ("string", "subprocess", "tarfile", "threading", "turtle", "typing", "unittest", "urllib", "xml", "zipfile")


def emoji(folder: Path) -> None:
    """Google's emoji in their groups, from the package registry."""
    if shutil.which("npm") is None:
        raise SystemExit("bench: the workload emoji needs npm, which fetches the pictures; apt-get install npm, or leave it out")
    (folder / "package").mkdir()
    subprocess.run(["npm", "pack", "--silent", EMOJI], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["tar", "xzf", next(folder.glob("*.tgz")).name], cwd=folder, check=True)
    subprocess.run([sys.executable, str(BENCHMARKS / "emoji_folder.py"), "package", "photos"], cwd=folder, check=True)
    shutil.rmtree(folder / "package")


def fair(folder: Path) -> None:
    """statsmodels' survey of marriages: years married by age, children, religion, education and occupations, the last two as words."""
    from statsmodels.datasets import fair as survey

    rows = survey.load_pandas().data
    for column in ("occupation", "occupation_husb"):
        rows[column] = "kind " + rows[column].astype(int).astype(str)
    rows.to_csv(folder / "fair.csv", index=False)


def docstrings(folder: Path) -> None:
    """English that is always there: the docstrings of the standard library, one a row."""
    found: dict[str, None] = {}
    for name in MODULES:
        package = __import__(name)
        names = [name, *(f"{name}.{one.name}" for one in pkgutil.iter_modules(getattr(package, "__path__", [])))]
        for each in names:
            found |= dict.fromkeys(_docstrings(each))
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([one] for one in found)


def _docstrings(name: str) -> list[str]:
    if name.endswith(("__main__", ".test", ".tests", "idlelib")):
        return []
    try:
        module = __import__(name, fromlist=["_"])
    except ImportError:
        return []
    members = [module, *(one for _, one in inspect.getmembers(module) if getattr(one, "__module__", "") == name)]
    return [text for one in members if len(text := inspect.getdoc(one) or "") > 200]


def minilm(folder: Path) -> None:
    """all-MiniLM-L6-v2 and texts."""
    docstrings(folder)
    real_models.minilm(folder / "net")


def smollm2(folder: Path) -> None:
    """SmolLM2-135M and texts."""
    docstrings(folder)
    real_models.smollm2(folder / "net")
