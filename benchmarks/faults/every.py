"""All faults of a running line: signals, damaged caches and state, the clock, two runs at once, disks, stores. `make bench-faults`.

    python benchmarks/faults/every.py                     # some 300 tries, two hours; what is there is kept, and a second call goes on
    python benchmarks/faults/every.py --parts state,cache --shares 1

Each part is run in shares, each with a seed of its own, so that what did not hold can be repeated alone:
python benchmarks/faults/kills.py --seed SEED --tries 14. Writes benchmarks/results/faults-DATE.{json,md}.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tries import NOTES

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
RESULTS = PROJECT / "benchmarks/results"
COLUMNS = ("part", "fault", "tries", "held", "slowest, s", "not held")


@dataclass(frozen=True)
class Part:
    """A script beside this one: so many shares of so many tries; `options` are what it takes."""

    shares: int
    tries: int | None = None

    def command(self, name: str, share: int) -> list[str]:
        """How a share is run."""
        tries = ["--tries", str(self.tries)] if self.tries else []
        return [sys.executable, str(HERE / f"{name}.py"), "--seed", str(share), *tries]


PARTS: Mapping[str, Part] = {"state": Part(4, 24), "cache": Part(3, 20), "kills": Part(10, 14), "store": Part(1, 60), "disks": Part(1)}
"""The quickest first. `disks` mounts small file systems and needs root."""


def outcomes(out: Path, parts: Sequence[str], shares: int | None) -> Iterator[dict[str, Any]]:
    """What became of every try, shares that are not there run first."""
    for name in parts:
        for share in range(min(PARTS[name].shares, shares or PARTS[name].shares)):
            notes = out / f"{name}-{share}.jsonl"
            if not notes.is_file():
                _run(PARTS[name].command(name, share), notes)
            for line in notes.read_text(encoding="utf-8").splitlines():
                yield {"part": name, "seed": share, **json.loads(line)}


def _run(command: Sequence[str], notes: Path) -> None:
    """A share is whole or it is not there."""
    draft = notes.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch()
    environment = {**os.environ, NOTES: str(draft), "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    if subprocess.run(command, env=environment, check=False).returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} did not come to its end")
    draft.rename(notes)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a kind of fault, and what did not hold."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|:--|:--|--:|--:|--:|:--|"]
    for part, family in dict.fromkeys((one["part"], one["family"]) for one in found):
        tries = [one for one in found if (one["part"], one["family"]) == (part, family)]
        bad = [f"seed {one['seed']}, {one['name']}: {'; '.join(one['reasons'])}" for one in tries if one["reasons"]]
        cells = (part, family, len(tries), len(tries) - len(bad), f"{max(one['seconds'] for one in tries):.1f}", "<br>".join(bad))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    held = sum(not one["reasons"] for one in found)
    return "\n".join([*lines, f"| all | | {len(found)} | {held} | | |"])


def main() -> int:
    """Run what is missing, write the table of all; 0 if everything held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / ".slimline/faults")
    parser.add_argument("--parts", type=lambda given: given.split(","), default=list(PARTS))
    parser.add_argument("--shares", type=int, default=None, help="of each part at most so many")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found = list(outcomes(chosen.out, chosen.parts, chosen.shares))
    path = RESULTS / f"faults-{datetime.datetime.now(tz=datetime.UTC).date().isoformat()}"
    path.with_suffix(".json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path.with_suffix(".md").write_text(f"# Faults of a running line\n\n{table(found)}\n", encoding="utf-8")
    sys.stdout.write(f"{path}.md: {sum(not one['reasons'] for one in found)} of {len(found)} held\n")
    return int(any(one["reasons"] for one in found))


if __name__ == "__main__":
    sys.exit(main())
