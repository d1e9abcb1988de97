"""Hostile params.yaml: every value of a whole file replaced by odd ones, odd names, odd files. `slimline check` must say so in lines.

python benchmarks/faults/params.py --seed 0 --tries 400
"""

import argparse
import datetime
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tries import Try, all_tried

PROJECT = Path(__file__).parents[2]
EITHER, REFUSED = (0, 2), (2,)
NEVER: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": float("-inf"),
    "beyond float": 10**400,
    "true": True,
    "date": datetime.date(2026, 1, 1),
    "bytes": b"\x00\xff",
    "null byte": "a\x00b",
    "trailing newline": "teacher\n",
    "very long": "x" * 100_000,
}
"""Right nowhere in the file (true: nowhere but in a switch)."""
SELDOM: dict[str, Any] = {
    "nothing": None,
    "negative": -1,
    "zero": 0,
    "one": 1,
    "huge": 10**18,
    "tiny": 1e-308,
    "number as text": "5",
    "text": "five",
    "unicode": "modèle-\u202e",
    "dots": "..",
    "empty text": "",
    "list": [],
    "long list": ["x"] * 5000,
    "mapping": {},
    "odd keys": {1: 2, None: 3},
}
NAMES = ("A", "CON", "a b", "ä", ".", "..", "a/b", "-a", "a\n", "", "a" * 65, "a" * 5000, "teacher", 1, True, None, 1.5)
TEXTS = {
    "empty": "",
    "a list": "- 1\n- 2\n",
    "a number": "42\n",
    "not YAML": "a: [1, 2\n",
    "tabs": "a:\n\t- 1\n",
    "not UTF-8": None,
    "an alias bomb": "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(9)),
    "deep": "a: " + "[" * 3000 + "]" * 3000,
    "twice": "seed: 1\nseed: 2\n",
    "a tag of Python": "seed: !!python/object/apply:os.getcwd []\n",
    "a number of 5000 digits": f"seed: {'9' * 5000}\n",
}
BOUNDS = {
    ("teacher", "threads"): 100_000,
    ("evaluate", "threads"): 100_000,
    ("prune", "channels50", "recover", "threads"): 100_000,
    ("teacher", "epochs"): 10**9,
    ("teacher", "batch_size"): 10**12,
    ("evaluate", "batch_size"): 10**9,
    ("evaluate", "pairs"): 10**9,
    ("evaluate", "resamples"): 10**12,
    ("calibrate", "batch_size"): 10**12,
    ("prune", "channels50", "ratio"): 1,
    ("publish", "alias"): "a" * 300,
    ("publish", "bucket"): "a" * 300,
    ("workload",): "w" * 300 + ".py:Own",
    ("gate", "metric"): "m" * 300,
    ("distill", "small", "student"): {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}},
}


def main() -> int:
    """Make the tries and run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=400, help="how many of the replaced values are tried, drawn by the seed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimline-faults-") as folder:
        attempts = list(_attempts(Path(folder), random.Random(arguments.seed), arguments.tries))
        return all_tried(attempts, heading="params.yaml")


def _attempts(folder: Path, draw: random.Random, tries: int) -> Iterator[Try]:
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values = [(path, name, value, REFUSED) for path in paths(raw) for name, value in NEVER.items()]
    values += [(path, name, value, EITHER) for path in paths(raw) for name, value in SELDOM.items()]
    for number, (path, name, value, codes) in enumerate(draw.sample(values, min(tries, len(values)))):
        yield _attempt(folder / f"value{number}", "values", f"{'.'.join(path)}: {name}", dumped(replaced(raw, path, value)), codes)
    for number, (path, value) in enumerate(BOUNDS.items()):
        yield _attempt(folder / f"bound{number}", "bounds", ".".join(path), dumped(replaced(raw, path, value)), REFUSED)
    for number, name in enumerate(NAMES):
        named = {**raw, "prune": {**raw["prune"], name: {"source": "teacher", "method": "magnitude", "fraction": 0.5}}}
        yield _attempt(folder / f"name{number}", "names", repr(name)[:40], dumped(named), REFUSED)
    for number, path in enumerate(path for path in paths(raw) if len(path) > 1):
        unknown = replaced(raw, (*path[:-1], draw.choice(("epochz", "x" * 20_000, "ö", "0"))), 1)
        yield _attempt(folder / f"key{number}", "unknown keys", ".".join(path), dumped(unknown), EITHER)
    for name, text in TEXTS.items():
        yield _attempt(folder / f"text {name}", "files", name, b"\xff\xfe\x00" if text is None else text.encode(), REFUSED)


def paths(value: Any, here: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a mapping of mappings, whole sections too."""
    if not isinstance(value, dict):
        return [here]
    return ([here] if here else []) + [found for key, inner in value.items() for found in paths(inner, (*here, key))]


def replaced(raw: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy of a mapping with one value set."""
    key, *rest = path
    return {**raw, key: replaced(raw[key], tuple(rest), value) if rest else value}


def dumped(raw: Any) -> bytes:
    """YAML as a person's tool would write it."""
    return yaml.safe_dump(raw, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def _attempt(folder: Path, family: str, name: str, text: bytes, codes: tuple[int, ...]) -> Try:
    def run() -> None:
        from slimline.commands.check import checked_params

        folder.mkdir()
        (folder / "params.yaml").write_bytes(text)
        (folder / "dvc.yaml").write_bytes((PROJECT / "dvc.yaml").read_bytes())
        checked_params(folder)

    is_switch = name.endswith(": true") and codes == REFUSED
    return Try(
        family, name, run, codes=EITHER if is_switch and "student" in name else codes, lines=60, limit_s=20, memory_bytes=300_000_000
    )


if __name__ == "__main__":
    sys.exit(main())
