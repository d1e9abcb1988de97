"""The recipe search beside the best chain by hand, judged in the same run on the same machine.

    python benchmarks/recipe_search.py --workload digits --minutes 20 --out /tmp/recipes
    python benchmarks/recipe_search.py --workload cnn11m --minutes 20 --out /tmp/recipes

It works in a clone of this project's last commit below --out, goes on where it was stopped, and writes NAME.md and NAME.json there. The
minutes are those in which new chains are begun; the judgement on test comes after them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from recipe_settings import SETTINGS
from recipe_table import search_markdown

from slimline.artifact.folder import write_json, write_text
from slimline.params.overrides import flow
from slimline.params.yaml_file import read_yaml

PROJECT = Path(__file__).resolve().parents[1]


def clone_of(folder: Path) -> Path:
    """A clone of the project's last commit, made once."""
    if not (folder / "dvc.yaml").exists():
        subprocess.run(["git", "clone", "-q", str(PROJECT), str(folder)], check=True)
    return folder


def write_params(folder: Path, content: dict[str, Any]) -> None:
    """params.yaml, committed: a run in a clone starts from a commit."""
    write_text(folder / "params.yaml", "".join(f"{key}: {flow(value)}\n" for key, value in content.items()))
    name = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    subprocess.run(["git", *name, "commit", "-qam", "params"], cwd=folder, check=False, capture_output=True)


def in_clone(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module in the clone, with the clone's own code; what it writes to standard error is shown."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_WAIT_POLICY": "passive"}
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)


def searched(out: Path, workload: str, minutes: float) -> dict[str, Any]:
    """What `slimline search --json` says."""
    setting, folder = SETTINGS[workload], clone_of(out / workload)
    content = read_yaml(PROJECT / "params.yaml") | setting
    content["search"] = setting["search"] | {"minutes": minutes}
    write_params(folder, content)
    began = time.time()
    done = in_clone(folder, "flows.search", "--json")
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"wall_minutes": (time.time() - began) / 60, "workload": workload}


def main() -> None:
    """Search, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=tuple(SETTINGS), default="digits")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the beginning"
    found = searched(asked.out, asked.workload, asked.minutes)
    write_json(asked.out / f"{asked.workload}.json", found)
    text = search_markdown(found, SETTINGS[asked.workload]["search"]["beside"], load)
    write_text(asked.out / f"{asked.workload}.md", text)
    print(text)


if __name__ == "__main__":
    main()
