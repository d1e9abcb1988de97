"""The tiny project of the flow and browser tests, as a repository of its own with nothing of this machine's settings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
TINY = REPO / "tests/flow/tiny"


def make_project(folder: Path) -> tuple[Path, dict[str, str]]:
    """A committed copy of the tiny project with the real flows and prefect.yaml; (root, environment)."""
    root = folder / "project"
    names = ("PREFECT", "SLIMLINE", "DVC", "AWS", "GIT", "TINY")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    env |= {f"DVC_{name}": str(folder / name.lower()) for name in ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")}
    env |= {"GIT_CONFIG_GLOBAL": str(folder / "gitconfig"), "PYTHONPATH": str(REPO)}
    (folder / "gitconfig").write_text("[user]\nname = Tester\nemail = tester@example.org\n")
    shutil.copytree(TINY, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "gitignore.txt").rename(root / ".gitignore")
    (root / "dvc.yaml.txt").rename(root / "dvc.yaml")
    shutil.copy(REPO / "prefect.yaml", root)
    (root / "flows").symlink_to(REPO / "flows")
    for command in ("git init -q -b main", f"{sys.executable} -m dvc init -q", "git add -A", "git commit -qm tiny"):
        subprocess.run(command.split(), cwd=root, env=env, check=True, capture_output=True)
    return root, env
